/**
 * @file Where an answer's tokens stand in the answer's own text, for reports on single tokens. What the model reads is
 * not that text: a template writes before it, trims it and may rearrange it.
 */

import type { Tokenizer } from "./tokenizer.ts";

/** A token's part of an answer, in code points; empty for what the template wrote. */
export interface AnswerPlace {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/**
 * Lays the stretch along the answer from the end; white space that only one of them has is passed over, what both have
 * at one place counts as the answer's. What comes before the first other difference is the template's: it may have moved
 * or dropped the answer's beginning.
 *
 * @param stretch what the model reads between two control tokens, e.g. "assistant\n" and the answer
 * @returns one place for each token of the stretch; tokens that are parts of one character all have that character's
 */
export function placesInAnswer(
  tokenizer: Pick<Tokenizer, "encodeWithPlaces">,
  stretch: string,
  answer: string,
): AnswerPlace[] {
  const signs = Array.from(answer);
  const { own, before } = align(Array.from(stretch), signs);
  return tokenizer.encodeWithPlaces(stretch).map(({ start, end }) => {
    let [first, last] = [start, end];
    while (first < last && own[first] !== true) first++;
    while (last > first && own[last - 1] !== true) last--;
    const from = before[first] ?? 0;
    const to = first < last ? (before[last - 1] ?? 0) + 1 : from;
    return { text: signs.slice(from, to).join(""), start: from, end: to };
  });
}

interface Alignment {
  /** Whether a character of the stretch is the answer's. */
  readonly own: readonly boolean[];
  /** How many characters of the answer stand before it: its place, if it is the answer's. */
  readonly before: readonly number[];
}

function align(stretch: readonly string[], answer: readonly string[]): Alignment {
  const own = stretch.map(() => false);
  const before = stretch.map(() => 0);
  let [at, place] = [stretch.length, answer.length];
  while (at > 0 && place > 0) {
    const [ofStretch = "", ofAnswer = ""] = [stretch[at - 1], answer[place - 1]];
    if (ofStretch === ofAnswer) {
      own[--at] = true;
      before[at] = --place;
    } else if (isSpace(ofStretch)) before[--at] = place;
    else if (isSpace(ofAnswer)) place--;
    else break;
  }
  // What is left of the stretch stands before all that was found of the answer.
  before.fill(place, 0, at);
  return { own, before };
}

function isSpace(sign: string): boolean {
  return /\p{White_Space}/u.test(sign);
}
