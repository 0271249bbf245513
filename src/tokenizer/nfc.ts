/**
 * @file Unicode's composed form, NFC, as Hugging Face's tokenizers compute it: with the tables of Unicode 10. To them
 * the marks that came later are ordinary signs, which neither change places nor compose. (transformers' slow tokenizer
 * class takes Python's tables; only texts with such marks differ.)
 */

import { youngMarks } from "./unicode-versions.ts";

/** In a group, so that `split` keeps what it splits at. */
const young = new RegExp(`(${youngMarks})`, "u");

export function toNfc(text: string): string {
  if (!young.test(text)) return text.normalize("NFC");
  // Each young mark stands by itself, where normalizing leaves it as it is.
  return text
    .split(young)
    .map((part) => part.normalize("NFC"))
    .join("");
}
