/**
 * @file One line of output for one record: scores by the kind of record, or an error.
 */

import { VlRewardError, withoutMiddle } from "../errors.ts";
import type { PreferenceRecord } from "./record.ts";
import type { RecordId } from "./record-line.ts";
import { shortFloat } from "./short-float.ts";

/** A token of an answer: where it stands in the answer's text, in code points, and the reward if the answer ended there. */
export interface TokenReward {
  /** Empty for pictures and for what the chat template writes behind the answer; the last token is where the score is read. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly reward: number;
}

/** Why there is nothing for a record. */
export interface ErrorResult {
  readonly id: RecordId;
  readonly error: { readonly code: string; readonly message: string };
}

export type Result =
  | { readonly id: RecordId; readonly score: number; readonly tokens?: readonly TokenReward[] }
  | {
      readonly id: RecordId;
      readonly scores: readonly number[];
      readonly best: number;
      readonly tokens?: readonly (readonly TokenReward[])[];
    }
  | {
      readonly id: RecordId;
      readonly chosen: number;
      readonly rejected: number;
      readonly margin: number;
      readonly tokens?: { readonly chosen: readonly TokenReward[]; readonly rejected: readonly TokenReward[] };
    }
  | ErrorResult;

/**
 * @param scores one per branch: the last turn; the responses; chosen, then rejected
 * @param tokens of each branch, where they are wanted
 * @throws VlRewardError `score_not_finite`, for JSON has no such number
 */
export function scoreResult(
  id: RecordId,
  record: PreferenceRecord,
  scores: readonly number[],
  tokens?: readonly (readonly TokenReward[])[],
): Result {
  const rewards = tokens?.flat().map(({ reward }) => reward) ?? [];
  if (scores.length === 0 || ![...scores, ...rewards].every(Number.isFinite)) {
    throw new VlRewardError(
      "score_not_finite",
      `the model gave ${withoutMiddle(scores.join(", "), 120) || "no score"}: its weights hold NaN, or overflow in this --dtype`,
    );
  }
  const short = scores.map(shortFloat);
  const [first = 0, second = 0] = short;
  const rounded = tokens?.map((own) => own.map((token) => ({ ...token, reward: shortFloat(token.reward) })));
  const [ofFirst = [], ofSecond = []] = rounded ?? [];
  switch (record.kind) {
    case "conversation":
      return { id, score: first, ...(rounded && { tokens: ofFirst }) };
    case "candidates":
      return { id, scores: short, best: firstMaximum(short), ...(rounded && { tokens: rounded }) };
    case "pair": {
      const margin = shortFloat(Math.fround(first - second));
      const both = rounded && { tokens: { chosen: ofFirst, rejected: ofSecond } };
      return { id, chosen: first, rejected: second, margin, ...both };
    }
  }
}

/** Of a record's message, in characters: nobody reads more of one among a thousand lines. */
const longestMessage = 800;

export function errorResult(id: RecordId, { code, message }: VlRewardError): ErrorResult {
  return { id, error: { code, message: withoutMiddle(message, longestMessage) } };
}

/** A result as one line of JSON Lines, with its line end; `file` is the input's, where there are several. */
export function resultLine(result: Result, file?: string): string {
  return `${JSON.stringify(withFile(result, file))}\n`;
}

/** Says beside the id which input a result belongs to, if that has to be said. */
export function withFile<T extends { readonly id: RecordId }>(result: T, file: string | undefined): object {
  if (file === undefined) return result;
  const { id, ...rest } = result;
  return { id, file, ...rest };
}

function firstMaximum(values: readonly number[]): number {
  return values.reduce((best, value, index) => (value > (values[best] ?? value) ? index : best), 0);
}
