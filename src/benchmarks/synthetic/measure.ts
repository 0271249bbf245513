/**
 * @file Measures a model on documents made up from a seed: whether it tells right answers from wrong ones, by category, by size
 * of the picture, on combinations that no training document has; and what a model without pictures makes of the same.
 */

import type { AnswerGroup } from "../../engine/group.ts";
import { VlRewardError } from "../../errors.ts";
import { calibrationError, calibrationOf, pairedDifference, type Share, shareOf } from "../../report/statistics.ts";
import type { GroupResult } from "../../reward/engine.ts";
import { categoriesOf } from "../../synthetic/document.ts";
import type { Category } from "../../synthetic/question.ts";
import type { Split } from "../../synthetic/world.ts";
import { type CategoryResult, kindOf, type SyntheticEvaluation } from "./evaluation.ts";
import { type Asked, questions } from "./questions.ts";

/** What scores groups, in order: an engine's `score`. */
export type Judge = (groups: Iterable<AnswerGroup>) => AsyncIterable<GroupResult>;

export interface Measurement {
  readonly judge: Judge;
  /** Of a model that was trained without pictures. */
  readonly control?: Judge | undefined;
  /** Of each category; more than `questions`, where a few points from 50% have to be told from chance. */
  readonly controlQuestions: number;
  readonly seed: number;
  /** Of each category. */
  readonly questions: number;
  /** Of each category and size. */
  readonly questionsBySize: number;
  /** Pixels a side; the first is that of all other figures. */
  readonly sizes: readonly number[];
  /** Called for each question that has been judged. */
  readonly onQuestion: () => void;
  /** Called when a category is done, with what has been measured until then. */
  readonly onCategory: (measured: Measured) => void;
}

export type Measured = Pick<SyntheticEvaluation, "heldOut" | "unseen" | "calibration">;

const binEdges = [0, 0.5, 1, 2, 3, 4];
const nearOne = [0.8, 1.2] as const;

/** Rejects with the error of a question that cannot be scored, and where a judge does. */
export async function measure(measurement: Measurement): Promise<Measured> {
  const margins: number[] = [];
  const heldOut: CategoryResult[] = [];
  const unseen: Omit<CategoryResult, "sizes">[] = [];
  const untilNow = (): Measured => ({ heldOut: [...heldOut], unseen: [...unseen], calibration: calibrated(margins) });
  for (const category of categoriesOf(3, "held-out")) {
    const found = await judged(measurement, category, "held-out");
    const sizes = await bySize(measurement, category);
    margins.push(...found.margins);
    heldOut.push({ ...found.result, sizes });
    measurement.onCategory(untilNow());
  }
  for (const category of categoriesOf(3, "unseen")) {
    unseen.push((await judged(measurement, category, "unseen")).result);
    measurement.onCategory(untilNow());
  }
  return untilNow();
}

function calibrated(margins: readonly number[]): Measured["calibration"] {
  const bins = calibrationOf(margins, binEdges);
  const near = margins.filter((margin) => Math.abs(margin) >= nearOne[0] && Math.abs(margin) < nearOne[1]);
  return { bins, nearOne: shareOf(near.map((margin) => margin > 0)), error: calibrationError(bins) };
}

/** How many questions `measure` will ask. */
export function questionCount(asking: Omit<Measurement, "judge" | "onQuestion" | "onCategory">): number {
  const { questions, questionsBySize, sizes, control, controlQuestions } = asking;
  const [all, unseen] = [categoriesOf(3, "held-out"), categoriesOf(3, "unseen")];
  const pictured = all.filter(hasPicture).length;
  const blind = control ? (pictured + unseen.length) * controlQuestions : 0;
  return (all.length + unseen.length) * questions + blind + pictured * sizes.length * questionsBySize;
}

const hasPicture = (category: Category): boolean => kindOf(category) !== "text";

async function judged(measurement: Measurement, category: Category, split: Split) {
  const { judge, control, seed, questions: count, sizes } = measurement;
  const asked: Asked = { seed, split, category, size: sizes[0] ?? 112, blank: false, answers: "all", count };
  const all = await scoresOf(judge, asked, measurement.onQuestion);
  const margins = all.map(marginOf);
  const answers = all.reduce((sum, scores) => sum + scores.length, 0) / count;
  const chance = all.reduce((sum, scores) => sum + 1 / scores.length, 0) / count;
  const result: Omit<CategoryResult, "sizes"> = {
    category,
    pairs: shareOf(margins.map((margin) => margin > 0)),
    choice: { ...shareOf(all.map(isBest)), answers, chance },
    ...(control && hasPicture(category) && { control: await controlled(measurement, control, asked) }),
  };
  return { margins, result };
}

async function controlled(measurement: Measurement, control: Judge, asked: Asked): Promise<Share> {
  const blind: Asked = { ...asked, blank: true, answers: "pair", count: measurement.controlQuestions };
  const all = await scoresOf(control, blind, measurement.onQuestion);
  return shareOf(all.map((scores) => marginOf(scores) > 0));
}

/** The same questions at every size. */
async function bySize(measurement: Measurement, category: Category): Promise<CategoryResult["sizes"]> {
  if (!hasPicture(category)) return [];
  const { judge, seed, questionsBySize: count, onQuestion } = measurement;
  const outcomes: { readonly size: number; readonly right: readonly boolean[] }[] = [];
  for (const size of measurement.sizes) {
    const asked: Asked = { seed, split: "held-out", category, size, blank: false, answers: "pair", count };
    const all = await scoresOf(judge, asked, onQuestion);
    outcomes.push({ size, right: all.map((scores) => marginOf(scores) > 0) });
  }
  const first = outcomes[0]?.right ?? [];
  return outcomes.map(({ size, right }) => ({
    size,
    accuracy: shareOf(right).accuracy,
    difference: pairedDifference(right, first),
  }));
}

/** -> for each question the scores of its answers, the right one's first */
async function scoresOf(judge: Judge, asked: Asked, onQuestion: () => void): Promise<(readonly number[])[]> {
  const all: (readonly number[])[] = [];
  for await (const result of judge(questions(asked))) {
    if ("error" in result) throw new VlRewardError(result.error.code, `${asked.category}: ${result.error.message}`);
    all.push(result.scores);
    onQuestion();
  }
  return all;
}

const marginOf = ([right = Number.NaN, wrong = Number.NaN]: readonly number[]): number => right - wrong;

const isBest = ([right = Number.NaN, ...wrong]: readonly number[]): boolean => wrong.every((score) => right > score);
