/**
 * @file What all questions share: how a question, its right answer and wrong ones are worded, and how wrong facts are
 * drawn.
 *
 * The law that keeps answers from being judged without the picture: given the question, a fact is as often right with
 * another as the wrong one as the other way round. Facts that are drawn evenly and wrong ones that are drawn evenly from
 * the rest obey it, and so do wrong facts from an edit of the right one that leads back as often as there. Wording is
 * drawn for right and wrong answers from the same distribution.
 */
import type { Draws } from "./draws.ts";
import type { Split } from "./world.ts";

export const categories = {
  scene: ["colour", "shape", "where", "at", "exists", "relation", "changed", "caption", "caption-places"],
  crowd: ["count", "count-kind"],
  chart: ["bars", "bar-colour", "tallest", "value", "chart-caption"],
  writing: ["letter", "digit", "word", "number", "says", "ink"],
  text: ["sum", "larger", "format", "on-topic", "copy"],
} as const;
/** What a document shows; each kind has questions of its own. */
export type DocumentKind = keyof typeof categories;
export type Category = (typeof categories)[DocumentKind][number];

/** `fixed`: how an answer is worded follows from how the question is. */
export type Wording = "fixed" | "varied";

export interface SyntheticQuestion {
  readonly category: Category;
  readonly question: string;
  readonly right: string;
  /** All different: as many as were asked for, or all that there are, such as one for a question of yes or no. */
  readonly wrong: readonly string[];
}

/** What a question is made with. */
export interface Asking {
  readonly draws: Draws;
  readonly split: Split;
  readonly wording: Wording;
  /** How many wrong answers are wanted. */
  readonly wrong: number;
}

export interface Draft<Fact> {
  readonly asks: readonly string[];
  /** At least as many as `asks`, so that `fixed` has one for each. */
  readonly says: readonly ((fact: Fact) => string)[];
  readonly right: Fact;
  /** Draws at most so many facts that are false and all different. */
  readonly wrong: (draws: Draws, count: number) => readonly Fact[];
}

/** How many wrong answers of ten are worded as the right one where wording varies. */
const wordedAlike = 6;

export function ask<Fact>(category: Category, asking: Asking, draft: Draft<Fact>): SyntheticQuestion {
  const { draws, wording } = asking;
  const { asks, says, right } = draft;
  const form = draws.below(asks.length);
  const same = wording === "fixed" ? form : draws.below(says.length);
  const others = draws.fork();
  const word = (fact: Fact, by: number) => says[by % says.length]?.(fact) ?? "";
  const wrongForm = () => (wording === "fixed" || others.chance(wordedAlike, 10) ? same : others.below(says.length));
  return {
    category,
    question: asks[form] ?? "",
    right: word(right, same),
    wrong: draft.wrong(others, asking.wrong).map((fact) => word(fact, wrongForm())),
  };
}

/** A question of yes or no. The one wrong answer is worded in as many ways as there are. */
export function askWhether(
  category: Category,
  asking: Asking,
  asks: readonly string[],
  answer: boolean,
): SyntheticQuestion {
  const says = [
    ["Yes.", "No."],
    ["Yes, it is so.", "No, it is not so."],
    ["Yes, that is right.", "No, that is not right."],
  ] as const;
  const { draws, wording } = asking;
  const form = draws.below(asks.length);
  const others = draws.fork();
  const word = (truth: boolean, by: number) => says[by % says.length]?.[truth ? 0 : 1] ?? "";
  const same = wording === "fixed" ? form : draws.below(says.length);
  const wrongForms = wording === "fixed" ? [same] : others.sample([...says.keys()], asking.wrong);
  return {
    category,
    question: asks[form] ?? "",
    right: word(answer, same),
    wrong: wrongForms.map((by) => word(!answer, by)),
  };
}

/** Other values than the right one: half of them from those `seen` in the picture, as far as there are any. */
export function otherValues<Value>(
  right: Value,
  values: readonly Value[],
  seen: readonly Value[],
): (draws: Draws, count: number) => Value[] {
  return (draws, count) => {
    let left = values.filter((value) => value !== right);
    const taken: Value[] = [];
    while (taken.length < count && left.length > 0) {
      const near = draws.chance(1, 2) ? left.filter((value) => seen.includes(value)) : [];
      const value = draws.pick(near.length > 0 ? near : left);
      left = left.filter((other) => other !== value);
      taken.push(value);
    }
    return taken;
  };
}

/** Facts from repeated edits of the right one, all with different keys; an edit that cannot be made is undefined. */
export function editsOf<Fact>(
  right: Fact,
  key: (fact: Fact) => string,
  edit: (draws: Draws) => Fact | undefined,
): (draws: Draws, count: number) => Fact[] {
  return (draws, count) => {
    const taken = new Map<string, Fact>();
    for (let attempt = 0; attempt < 40 * count && taken.size < count; attempt++) {
      const fact = edit(draws);
      if (fact !== undefined && key(fact) !== key(right)) taken.set(key(fact), fact);
    }
    return [...taken.values()];
  };
}

/** The numbers from `low` to `high`. */
export const range = (low: number, high: number): number[] =>
  Array.from({ length: high - low + 1 }, (_, index) => low + index);
