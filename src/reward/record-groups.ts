/** @file Records as groups for the engine, and what the engine makes of them as results: the two ends of the road. */
import type { PreferenceRecord } from "../data/record.ts";
import type { RecordId } from "../data/record-line.ts";
import { errorResult, type Result, scoreResult, type TokenReward } from "../data/result.ts";
import type { AnswerGroup, ReadResult } from "../engine/group.ts";
import type { ReadRequest } from "../engine/read/reader.ts";
import { VlRewardError } from "../errors.ts";
import type { TextPlace } from "../models/prompt.ts";

/** @param baseFolder where relative paths inside the record start */
export function groupOf({ prompt, answers }: PreferenceRecord, baseFolder: string): AnswerGroup {
  return { prefix: prompt, branches: answers, baseFolder };
}

/** What is read for a record's result. */
export const requestsFor = (perToken: boolean): readonly ReadRequest[] =>
  perToken ? [{ kind: "reward" }, { kind: "rewards" }] : [{ kind: "reward" }];

/** @param read as `requestsFor` asked. A result that JSON cannot hold becomes an error. */
export function resultOf(id: RecordId, record: PreferenceRecord, read: ReadResult): Result {
  if ("error" in read) return errorResult(id, read.error);
  const scores = read.answers.map(([reward]) => Number(reward));
  const tokens = read.answers.flatMap(([, rewards], branch) =>
    rewards instanceof Float32Array ? [tokensOf(rewards, read.places[branch] ?? [])] : [],
  );
  try {
    return scoreResult(id, record, scores, tokens.length > 0 ? tokens : undefined);
  } catch (error) {
    if (error instanceof VlRewardError) return errorResult(id, error);
    throw error;
  }
}

/** An answer's tokens and those behind it; what the template writes before it is not the answer's. */
const tokensOf = (rewards: Float32Array, places: readonly (TextPlace | undefined)[]): TokenReward[] =>
  places.flatMap((place, token) => (place ? [{ ...place, reward: rewards[token] ?? Number.NaN }] : []));
