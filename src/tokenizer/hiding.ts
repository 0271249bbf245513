/**
 * @file Hides in texts what could become part of a control token, so that a template may cut and join them as it likes.
 *
 * Each control token has one of a few characters (`|`, where all are spelled like `<|im_end|>`). In the texts of a
 * conversation private-use characters that none of them holds take their places: whatever is then found as a control
 * token has such a character from the template itself.
 */

import { VlRewardError } from "../errors.ts";

export interface Hiding {
  /** Characters that are hidden and stand in the texts; if there are none, nothing is changed. */
  readonly signs: readonly string[];
  hide(text: string): string;
  restore(text: string): string;
}

/** @throws invalid_record if the texts leave no private-use character to take */
export function hidingFor(tokens: readonly string[], texts: readonly string[]): Hiding {
  const signs = signsOf(tokens).filter((sign) => texts.some((text) => text.includes(sign)));
  const taken = new Set(texts.flatMap((text) => text.match(/[\u{e000}-\u{f8ff}]/gu) ?? []));
  const markOf = new Map<string, string>();
  for (let code = 0xe000; markOf.size < signs.length; code++) {
    if (code > 0xf8ff) {
      const message = "the texts hold every private-use character (U+E000 to U+F8FF): expected one that is in none";
      throw new VlRewardError("invalid_record", message);
    }
    const mark = String.fromCodePoint(code);
    if (!taken.has(mark)) markOf.set(signs[markOf.size] ?? "", mark);
  }
  return {
    signs,
    hide: (text) => replaceAll(text, markOf),
    restore: (text) => replaceAll(text, new Map(Array.from(markOf, ([sign, mark]) => [mark, sign]))),
  };
}

function replaceAll(text: string, replacements: ReadonlyMap<string, string>): string {
  let replaced = text;
  for (const [from, to] of replacements) replaced = replaced.replaceAll(from, to);
  return replaced;
}

/** A few characters of which every token has one: those that most have, and rather those that texts are not cut at. */
function signsOf(tokens: readonly string[]): string[] {
  const signs: string[] = [];
  let left = tokens;
  while (left.length > 0) {
    const counts = new Map<string, number>();
    for (const token of left) for (const sign of new Set(token)) counts.set(sign, (counts.get(sign) ?? 0) + 1);
    let best = "";
    let most = 0;
    for (const [sign, count] of counts) {
      if (count + harmlessness(sign) <= most) continue;
      best = sign;
      most = count + harmlessness(sign);
    }
    signs.push(best);
    left = left.filter((token) => !token.includes(best));
  }
  return signs;
}

/** Below 1: decides between signs that equally many tokens have. Templates look for `</think>`, and change letters. */
function harmlessness(sign: string): number {
  if (sign === "|") return 0.75;
  if (/[<>/]/.test(sign)) return 0.25;
  return /[\p{P}\p{S}]/u.test(sign) ? 0.5 : 0;
}
