/**
 * @file `input` and `messages` of vLLM's and OpenAI's requests. `input` is a prompt, scored token for token; messages are
 * conversations, one or a list of them, under either key.
 */

import { z } from "zod";
import { text } from "../../data/parts.ts";
import { jsonPath } from "../../data/schema-errors.ts";
import { VlRewardError } from "../../errors.ts";
import { activation, assertUncut, scoresOf } from "./answers.ts";
import { mediaUnder, readConversation, withMediaOptions } from "./conversations.ts";
import type { Answering, Body, DialectRequest, Scored, Task } from "./dialect.ts";
import { has, invalid, type Key, read, tokenIds } from "./fields.ts";
import { assertClosedTurn, routed, type VllmFields } from "./vllm-fields.ts";
import { writtenText } from "./written.ts";

/** Whether a body has one of the two. */
export const hasPrompts = (body: Body): boolean => has(body, "input") || has(body, "messages");

/** @throws VlRewardError `invalid_request` where there is neither, or both */
export function readPrompts(body: Body, { mediaOptions }: VllmFields): Task[] {
  if (has(body, "input") && has(body, "messages")) {
    throw invalid("input and messages exclude each other; keep one of them");
  }
  if (has(body, "messages")) assertClosedTurn(body);
  const tasks = has(body, "messages") ? readMessagesKey(body) : readInput(body.input, ["input"]);
  return tasks.map((task) => withMediaOptions(task, mediaOptions));
}

/**
 * A request for the rewards of prompts, refused where `truncate_prompt_tokens` would have cut one.
 *
 * @param write is given them in the order of the prompts, as the client wants them: raw or through the sigmoid
 */
export function promptRequest(
  body: Body,
  fields: VllmFields,
  write: (rewards: readonly number[], results: readonly Scored[], answering: Answering) => unknown,
): DialectRequest {
  const activate = activation(fields.isSigmoid);
  return {
    tasks: readPrompts(body, fields),
    ...routed(fields),
    answer: (results, answering) => {
      assertUncut(results, fields.mostTokens, "truncate_prompt_tokens");
      return write(scoresOf(results).map(activate), results, answering);
    },
  };
}

function readMessagesKey(body: Body): Task[] {
  const { messages } = body;
  if (!isLists(messages)) return [readConversation(messages, ["messages"], body)];
  const beside = ["images", "videos"].find((key) => has(body, key));
  if (beside !== undefined) {
    throw invalid(`${beside}: there are several conversations; put their pictures into the content of their messages`);
  }
  return messages.map((turns, index) => readConversation(turns, ["messages", index]));
}

const isLists = (value: unknown): value is readonly unknown[][] =>
  Array.isArray(value) && value.length > 0 && value.every((entry) => Array.isArray(entry));

const isTurn = (value: unknown): boolean => typeof value === "object" && value !== null && "role" in value;

const inputs =
  "a string, a list of strings, a list of token ids or a list of such lists, or objects with text and image";

function readInput(input: unknown, key: Key): Task[] {
  if (typeof input === "string") return [writtenText(read(text, input, key), undefined, jsonPath(key))];
  if (!Array.isArray(input)) throw invalid(`${jsonPath(key)}: expected ${inputs}`);
  const entries: readonly unknown[] = input;
  const [first] = entries;
  if (first === undefined) throw invalid(`${jsonPath(key)}: expected ${inputs}, found an empty list`);
  if (typeof first === "number") return [idsTask(entries, key)];
  if (isTurn(first)) return [readConversation(entries, key)];
  return entries.map((entry, index) => readEntry(entry, [...key, index]));
}

function readEntry(entry: unknown, key: Key): Task {
  if (typeof entry === "string") return writtenText(read(text, entry, key), undefined, jsonPath(key));
  if (Array.isArray(entry)) return isTurn(entry[0]) ? readConversation(entry, key) : idsTask(entry, key);
  return readObject(entry, key);
}

/** Token ids as they are. */
export function idsTask(value: unknown, key: Key, media: Extract<Task, { written: unknown }>["media"] = []): Task {
  const ids = read(tokenIds, value, key);
  if (ids.length === 0) throw invalid(`${jsonPath(key)}: expected at least one token id, found an empty list`);
  return { written: ids, media };
}

const promptObject = z.looseObject(
  { text: text.nullish(), image: z.unknown().optional(), video: z.unknown().optional() },
  inputs,
);

/** SGLang's: a text with the places of its picture and video. */
function readObject(entry: unknown, key: Key): Task {
  const { text: prompt, image, video } = read(promptObject, entry, key);
  const parts = [...mediaUnder("images", image, [...key, "image"]), ...mediaUnder("videos", video, [...key, "video"])];
  if (prompt === undefined || prompt === null || prompt === "") {
    throw new VlRewardError(
      "no_assistant_turn",
      `${jsonPath(key)}: nothing to score without a text that has an answer`,
    );
  }
  return writtenText(prompt, parts.length > 0 ? { key: jsonPath(key), parts } : undefined, `${jsonPath(key)}.text`);
}
