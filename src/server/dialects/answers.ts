/** @file What the answers of several dialects have in common: rewards in order, what was used, a sigmoid where one was asked for. */

import { shortFloat } from "../../data/short-float.ts";
import type { Scored } from "./dialect.ts";
import { invalid } from "./fields.ts";

/** Of all tasks, in order. */
export const scoresOf = (results: readonly Scored[]): number[] => results.flatMap(({ scores }) => scores);

export const tokensOf = (results: readonly Scored[]): number => results.reduce((sum, { tokens }) => sum + tokens, 0);

/** The number between 0 and 1 that classifiers of one label answer, as a float32. */
export const sigmoid = (score: number): number => shortFloat(Math.fround(1 / (1 + Math.exp(-score))));

/** As the server gives it, or its sigmoid. */
export const activation = (isSigmoid: boolean): ((score: number) => number) => (isSigmoid ? sigmoid : (score) => score);

/** vLLM's, of requests that generate nothing. */
export function usageOf(results: readonly Scored[]) {
  const tokens = tokensOf(results);
  return { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null };
}

/** OpenAI's and Cohere's. */
export function shortUsageOf(results: readonly Scored[]) {
  const tokens = tokensOf(results);
  return { prompt_tokens: tokens, total_tokens: tokens };
}

/** Best first, ties by index; the first `most` of them. */
export function ranked(scores: readonly number[], most?: number): { readonly index: number; readonly score: number }[] {
  const order = scores.map((score, index) => ({ index, score })).sort((a, b) => b.score - a.score || a.index - b.index);
  return order.slice(0, most || undefined);
}

/**
 * Refuses a limit that would have cut a conversation, on either side: its reward would mean nothing. Tasks of a body with such a
 * limit have one answer each.
 *
 * @throws VlRewardError `invalid_request`
 */
export function assertUncut(results: readonly Scored[], most: number | undefined, key: string): void {
  if (most === undefined) return;
  const at = results.findIndex(({ tokens }) => tokens > most);
  if (at === -1) return;
  throw invalid(
    `${key}: conversation ${at} has ${results[at]?.tokens} tokens and would be cut to ${most}, and the reward of a cut ` +
      "conversation means nothing; leave the key out, or send a shorter conversation",
  );
}
