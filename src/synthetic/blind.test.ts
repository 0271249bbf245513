import { describe, expect, test } from "vitest";
import { categoriesOf, syntheticTexts } from "./document.ts";
import { type Category, categories } from "./question.ts";
import type { Level, Split } from "./world.ts";

/** A question with its right answer and a wrong one, as words. */
type Pair = readonly [question: string, right: string, wrong: string];

function pairsOf(category: Category, split: Split, count: number): Pair[] {
  const levels = ([0, 1, 2, 3] as const).filter((level) => categoriesOf(level, split).includes(category));
  const pairs: Pair[] = [];
  for (let index = 0; pairs.length < count; index++) {
    const level: Level = levels[index % levels.length] ?? 3;
    const weights = { [category]: 1 };
    for (const asked of syntheticTexts({ seed: 5, index, split, level, weights }).questions) {
      pairs.push(...asked.wrong.map((wrong): Pair => [asked.question, asked.right, wrong]));
    }
  }
  return pairs.slice(0, count);
}

const buckets = 2 ** 18;

function hash(text: string): number {
  let sum = 2_166_136_261;
  for (let at = 0; at < text.length; at++) sum = Math.imul(sum ^ text.charCodeAt(at), 16_777_619);
  return (sum ^ (sum >>> 15)) & (buckets - 1);
}

/** An answer's runs of one to three words, alone and with the question, how often it repeats one, and its length. */
function features(question: string, answer: string): number[] {
  const words = ["^", ...(answer.toLowerCase().match(/[a-z0-9]+|[^a-z0-9\s]/g) ?? []), "$"];
  const said = words.flatMap((_, at) => [1, 2, 3].map((length) => words.slice(at, at + length).join(" ")));
  const repeated = `repeated ${words.length - new Set(words).size}`;
  const all = [...said, repeated, `words ${words.length}`, `characters ${answer.length}`, answer];
  return all.flatMap((feature) => [hash(feature), hash(`${question}\t${feature}`)]);
}

/** Logistic regression on the difference of two answers' features (Adagrad). Returns its accuracy on `unknown`. */
function blindAccuracy(known: readonly Pair[], unknown: readonly Pair[], passes: number): number {
  const [weights, squares] = [new Float64Array(buckets), new Float64Array(buckets).fill(1e-3)];
  const sum = (all: readonly number[]) => all.reduce((total, feature) => total + (weights[feature] ?? 0), 0);
  const prepared = (pairs: readonly Pair[]) =>
    pairs.map(([question, right, wrong]) => [features(question, right), features(question, wrong)] as const);
  const learnt = prepared(known);
  const step = (feature: number, gradient: number) => {
    squares[feature] = (squares[feature] ?? 0) + gradient ** 2;
    weights[feature] = (weights[feature] ?? 0) + (0.05 * gradient) / Math.sqrt(squares[feature] ?? 1);
  };
  for (let pass = 0; pass < passes; pass++) {
    for (const [right, wrong] of learnt) {
      const gradient = 1 / (1 + Math.exp(sum(right) - sum(wrong)));
      for (const feature of right) step(feature, gradient);
      for (const feature of wrong) step(feature, -gradient);
    }
  }
  const points = prepared(unknown).map(([right, wrong]) => (Math.sign(sum(right) - sum(wrong)) + 1) / 2);
  return (100 * points.reduce((total, point) => total + point, 0)) / points.length;
}

const blindAccuracyOf = (category: Category, split: Split = "held-out") =>
  blindAccuracy(pairsOf(category, "train", 20_000), pairsOf(category, split, 15_000), 2);

describe("what can be learnt from questions and answers alone, without pictures", () => {
  const pictured: readonly Category[] = [
    ...categories.scene,
    ...categories.crowd,
    ...categories.chart,
    ...categories.writing,
  ];

  test.each(pictured)("%s: nothing, right answers cannot be told from wrong ones", (category) => {
    const accuracy = blindAccuracyOf(category);

    expect(accuracy).toBeGreaterThan(47);
    expect(accuracy).toBeLessThan(53);
  });

  test("the learner is able to learn: which of two texts follows the format that was asked for", () => {
    expect(blindAccuracyOf("format")).toBeGreaterThan(80);
  });
});
