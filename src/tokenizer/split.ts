/**
 * @file Qwen's rule for cutting text into pieces before byte-pair encoding (the pre_tokenizer of Qwen2's
 * tokenizer.json): words with the character before them, single digits, runs of other signs, line ends, white space.
 *
 * The rule is written for Oniguruma. Three things differ in JavaScript:
 * - `(?i:` is spelled out, with U+017F (long s), which folds to s;
 * - `\s` is Unicode's White_Space (JavaScript's own counts U+FEFF and not U+0085);
 * - letters and numbers are those of Unicode 16, as in Hugging Face's tokenizers 0.21, whatever Node knows.
 */

import { youngLetters, youngNumbers } from "./unicode-versions.ts";

/** As it stands in tokenizer.json; the only rule this package reads and writes. */
export const qwenSplitRule = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

const letter = String.raw`[\p{L}--${youngLetters}]`;
const number = String.raw`[\p{N}--${youngNumbers}]`;
const space = String.raw`\p{White_Space}`;

const piece = new RegExp(
  [
    `'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])`,
    String.raw`[^\r\n${letter}${number}]?${letter}+`,
    number,
    String.raw` ?[^${space}${letter}${number}]+[\r\n]*`,
    String.raw`${space}*[\r\n]+`,
    String.raw`${space}+(?!\P{White_Space})`,
    `${space}+`,
  ].join("|"),
  "gv",
);

/** The pieces of a text in order; together they are the text, since every character fits some branch of the rule. */
export function splitIntoPieces(text: string): string[] {
  return text.match(piece) ?? [];
}
