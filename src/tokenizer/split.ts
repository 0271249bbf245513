/**
 * @file Cuts text into pieces, within which byte-pair encoding merges: by the rule that stands in tokenizer.json's
 * pre_tokenizer (words with the character before them, digits, runs of other signs, line ends, white space).
 */

import { compileSplitRule } from "./split-rule.ts";

/** The rule of Qwen2 and later, for tokenizers that are trained here. */
export const qwenSplitRule = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/** Gives the pieces of a text in order; together they are the text. */
export type Splitter = (text: string) => string[];

/** @throws config_invalid for a rule that is not understood */
export function splitterOf(rule: string): Splitter {
  const matching = compileSplitRule(rule);
  return (text) => {
    const pieces = text.match(matching) ?? [];
    let length = 0;
    for (const piece of pieces) length += piece.length;
    return length === text.length ? pieces : withGaps(text, matching);
  };
}

/** What lies between two matches is a piece too. */
function withGaps(text: string, matching: RegExp): string[] {
  const pieces: string[] = [];
  let from = 0;
  for (const match of text.matchAll(matching)) {
    if (match.index > from) pieces.push(text.slice(from, match.index));
    pieces.push(match[0]);
    from = match.index + match[0].length;
  }
  if (from < text.length) pieces.push(text.slice(from));
  return pieces;
}
