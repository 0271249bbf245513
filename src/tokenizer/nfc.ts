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

/**
 * For each code point of `normalized`, the stretch of the text's that it comes from. Both are laid along the decomposed
 * form, in which they have equally many code points; where NFC changes the order of marks, places follow the new order.
 */
export function originsOf(text: string, normalized: string): { start: number; end: number }[] {
  if (text === normalized) return Array.from(text, (_, index) => ({ start: index, end: index + 1 }));
  const decomposed = Array.from(text).flatMap((sign, index) => Array.from(sign.normalize("NFD"), () => index));
  let from = 0;
  return Array.from(normalized, (sign) => {
    const start = decomposed[from] ?? 0;
    from += Array.from(sign.normalize("NFD")).length;
    return { start, end: (decomposed[from - 1] ?? 0) + 1 };
  });
}
