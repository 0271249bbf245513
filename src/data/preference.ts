/**
 * @file One line of training data: a prompt, answers to it and which of them is better, in any format that is read.
 * docs/training.md describes it.
 *
 * A pair says it by itself; several answers by `scores`, each pair of different ones. `margin`, `weight` and `source` may stand
 * beside them and hold for every pair of the record; `reference_log_probs` has a number for each answer.
 */

import { z } from "zod";
import type { Message } from "../conversation.ts";
import { VlRewardError } from "../errors.ts";
import { canonicalText } from "./canonical.ts";
import { type Row, sameTurns } from "./formats/row.ts";
import { type ReadRow, type RecordId, readRecordLine } from "./record-line.ts";
import { invalidRecord } from "./schema-errors.ts";

/** One prompt with answers and what is known of them. */
export interface Preference {
  readonly id: RecordId;
  /** The prompt; ends with a user turn. */
  readonly prefix: readonly Message[];
  /** Assistant turns, all different: chosen and rejected, or all responses. */
  readonly answers: readonly Message[];
  /** At least one. */
  readonly pairs: readonly AnswerPair[];
  readonly source: string | undefined;
  /** Of each answer: its log-probability under a reference policy, computed before; undefined where the record has none. */
  readonly referenceLogProbs?: readonly number[] | undefined;
}

export interface AnswerPair {
  /** Indices in `answers`. */
  readonly chosen: number;
  readonly rejected: number;
  /** By how much the better answer's reward should be the larger, at least. */
  readonly margin: number;
  /** How much the pair's loss counts. */
  readonly weight: number;
}

/** What became of a line; a bad record keeps its id as far as it could be read. */
export type ReadPreference =
  | { readonly id: RecordId; readonly format: string; readonly preference: Preference }
  | { readonly id: RecordId; readonly error: VlRewardError };

/** What a training says of a record beside its answers, in every format. */
const wireLabels = z.object({
  scores: z.array(z.number("a finite number"), "a list of numbers").exactOptional(),
  margin: z.number("a number that is not negative").nonnegative("a number that is not negative").exactOptional(),
  weight: z.number("a positive number").positive("a positive number").exactOptional(),
  source: z.string("a string").exactOptional(),
  reference_log_probs: z.array(z.number("a finite number"), "a list of numbers").exactOptional(),
});

/** Reads one line; whatever is in it, this returns and does not throw. */
export function readPreference(line: string, lineNumber: number): ReadPreference {
  const read = readRecordLine(line, lineNumber, toPreference);
  return "error" in read ? read : { id: read.id, ...read.value };
}

function toPreference({ format, row, record }: ReadRow, id: RecordId): { format: string; preference: Preference } {
  const labels = wireLabels.safeParse(record);
  if (!labels.success) throw invalidRecord(record, labels.error, () => []);
  const { scores, margin = 0, weight = 1, source, reference_log_probs } = labels.data;
  const { answers, ranks, places } = rankedAnswers(row, scores);
  const referenceLogProbs = reference_log_probs && byAnswer(reference_log_probs, places);
  const pairs = pairsOf(ranks, margin, weight);
  return { format: format.name, preference: { id, prefix: row.prompt, answers, pairs, source, referenceLogProbs } };
}

/** -> numbers for each answer of those that a record gives for each of its texts, of which some can be equal */
function byAnswer(numbers: readonly number[], places: readonly number[]): number[] {
  if (numbers.length !== places.length) {
    throw invalid(
      `reference_log_probs: expected as many numbers as answers, found ${numbers.length} for ${places.length}`,
    );
  }
  const found: number[] = [];
  for (const [index, place] of places.entries()) {
    const number = numbers[index] ?? 0;
    const before = found[place] ?? number;
    if (before !== number) {
      throw invalid(`reference_log_probs: two answers are equal, but their numbers are ${before} and ${number}`);
    }
    found[place] = number;
  }
  return found;
}

/** Answers, all different, and a number for each that is the higher the better the answer. */
interface RankedAnswers {
  readonly answers: readonly Message[];
  readonly ranks: readonly number[];
  /** For each answer of the record, in its order (chosen, then rejected), which of these it is. */
  readonly places: readonly number[];
}

function rankedAnswers({ kind, answers }: Row, scores: readonly number[] | undefined): RankedAnswers {
  if (kind === "pair") {
    if (scores !== undefined)
      throw invalid("a record has either responses and scores, or chosen and rejected, but not both");
    const [chosen, rejected] = answers;
    if (chosen === undefined || rejected === undefined || sameTurns([chosen], [rejected])) {
      throw invalid("chosen and rejected are equal: neither is better");
    }
    return { answers, ranks: [1, 0], places: [0, 1] };
  }
  if (kind === "candidates" && scores !== undefined) return scored(answers, scores);
  const found = kind === "candidates" ? "responses alone" : scores === undefined ? "none of them" : "scores alone";
  throw invalid(`expected chosen and rejected, or responses and scores, found ${found}`);
}

/** Answers of a record, of which every two become a pair. */
const mostCompared = 1000;

/** Equal answers are one. */
function scored(responses: readonly Message[], scores: readonly number[]): RankedAnswers {
  if (responses.length !== scores.length) {
    throw invalid(`expected as many scores as responses, found ${scores.length} for ${responses.length}`);
  }
  if (responses.length > mostCompared) {
    throw invalid(`responses: ${responses.length} answers, at most ${mostCompared} are compared with each other`);
  }
  const indexOf = new Map<string, number>();
  const answers: Message[] = [];
  const ranks: number[] = [];
  const places = responses.map((response, index) => {
    const score = scores[index] ?? 0;
    const key = canonicalText([response]);
    const place = indexOf.get(key) ?? answers.length;
    if (place === answers.length) {
      indexOf.set(key, place);
      answers.push(response);
      ranks.push(score);
    }
    const before = ranks[place];
    if (before !== score) throw invalid(`responses: two are equal, but their scores are ${before} and ${score}`);
    return place;
  });
  if (new Set(ranks).size < 2) throw invalid("scores: no two answers have different scores, so none is better");
  return { answers, ranks, places };
}

/** Every pair of different ranks, in the order of the answers. */
function pairsOf(ranks: readonly number[], margin: number, weight: number): AnswerPair[] {
  const pairs: AnswerPair[] = [];
  for (const [first, rank] of ranks.entries()) {
    for (const [offset, other] of ranks.slice(first + 1).entries()) {
      const second = first + 1 + offset;
      if (rank > other) pairs.push({ chosen: first, rejected: second, margin, weight });
      if (rank < other) pairs.push({ chosen: second, rejected: first, margin, weight });
    }
  }
  return pairs;
}

const invalid = (message: string): VlRewardError => new VlRewardError("invalid_record", message);
