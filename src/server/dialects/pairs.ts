/** @file Prompts and answers that stand beside each other: a query is the user's turn, each document an answer to it. */

import type { Message } from "../../conversation.ts";
import { assertUncut } from "./answers.ts";
import { withInstruction, withMediaOptions } from "./conversations.ts";
import type { Body, Scored, Task } from "./dialect.ts";
import { count, invalid, optional } from "./fields.ts";
import type { VllmFields } from "./vllm-fields.ts";

/** Limits on the tokens of a conversation and of its sides, under the keys of the request. */
export interface Limits {
  readonly conversation: number | undefined;
  readonly query: number | undefined;
  readonly document: number | undefined;
  /** Of Cohere's v1, which judges the chunks of a document: it is whole where it is one chunk, or so few. */
  readonly chunks: number | undefined;
}

/** Cohere's, of its smallest models. */
const tokensOfChunk = 512;

/** 0 is no limit of a side. */
export function readLimits(body: Body, { mostTokens }: VllmFields): Limits {
  return {
    conversation: mostTokens,
    query: optional(count, body, "max_tokens_per_query") || undefined,
    document: optional(count, body, "max_tokens_per_doc") || undefined,
    chunks: tokensOfChunk * (optional(count, body, "max_chunks_per_doc") ?? 0) || undefined,
  };
}

export interface Pairs {
  readonly tasks: readonly Task[];
  /** @throws VlRewardError `invalid_request` where a limit would, or could, have cut a side */
  assertUncut(results: readonly Scored[]): void;
}

/**
 * One task for all answers to one query; where there are limits, one for each pair, for then its tokens are to be known.
 *
 * @param query one for each of `answers`, or one for all of them
 */
export function pairTasks(
  queries: readonly Message[],
  answers: readonly Message[],
  { instruction, limits, fields }: PairOptions,
): Pairs {
  const pairs = answers.map((answer, index) => ({ query: queries[queries.length === 1 ? 0 : index], answer }));
  const promptOf = (query: Message | undefined) => withInstruction(instruction, query ? [query] : []);
  const isLimited = Object.values(limits).some((limit) => limit !== undefined);
  const tasks: Task[] =
    queries.length === 1 && !isLimited
      ? [{ prompt: promptOf(queries[0]), answers }]
      : pairs.map(({ query, answer }) => ({ prompt: promptOf(query), answers: [answer] }));
  return {
    tasks: tasks.map((task) => withMediaOptions(task, fields.mediaOptions)),
    assertUncut: (results) => {
      if (!isLimited) return;
      assertUncut(results, limits.conversation, "truncate_prompt_tokens");
      for (const [index, { query, answer }] of pairs.entries()) {
        const tokens = results[index]?.tokens ?? 0;
        assertSideUncut(query, tokens, limits.query, "max_tokens_per_query", index);
        assertSideUncut(answer, tokens, limits.document, "max_tokens_per_doc", index);
        assertSideUncut(answer, tokens, limits.chunks, "max_chunks_per_doc", index);
      }
    },
  };
}

export interface PairOptions {
  readonly instruction: string | undefined;
  readonly limits: Limits;
  readonly fields: VllmFields;
}

/** A side has no more tokens than its text has bytes, nor than the whole conversation has. */
function assertSideUncut(
  side: Message | undefined,
  tokens: number,
  most: number | undefined,
  key: string,
  index: number,
) {
  if (most === undefined || tokens <= most || bytesOf(side) <= most) return;
  throw invalid(
    `${key}: pair ${index} has ${tokens} tokens and may be cut to ${most}, and the reward of a cut conversation means nothing; ` +
      "leave the key out, or raise it",
  );
}

function bytesOf(side: Message | undefined): number {
  const content = side?.content ?? "";
  if (typeof content === "string") return Buffer.byteLength(content);
  return content.reduce(
    (sum, part) => sum + (part.type === "text" ? Buffer.byteLength(part.text) : Number.POSITIVE_INFINITY),
    0,
  );
}
