/**
 * @file What the engine takes and gives: a group is one prompt with its answers, and its result what was read of each.
 */

import type { Message } from "../conversation.ts";
import type { VlRewardError } from "../errors.ts";
import type { TextPlace } from "../models/prompt.ts";
import type { Answers } from "./read/questions.ts";

/** Answers to one prompt. */
export interface Group {
  /** All turns before the answer. */
  readonly prefix: readonly Message[];
  /** The answers: one assistant turn each. */
  readonly branches: readonly Message[];
  /** What relative paths of pictures and videos are relative to. */
  readonly baseFolder: string;
}

/** Who wants a group's answer, and by when. */
export interface Urgency {
  /** Higher is more urgent: what is under way is interrupted for it. 0 by default. */
  readonly priority?: number | undefined;
  /** Milliseconds since 1970 (`Date.now()`); a group that nobody has begun to compute by then gets `deadline_exceeded`. */
  readonly deadline?: number | undefined;
}

/** What was read of a group, or why it could not be. */
export type ReadResult =
  | {
      readonly answers: Answers;
      /** Of all its conversations, the prompt counted for each answer. */
      readonly tokens: number;
      /** For each branch, its tokens' places in its text, where a request wants them; undefined before the answer. */
      readonly places: readonly (readonly (TextPlace | undefined)[])[];
    }
  | { readonly error: VlRewardError };

/** What an answer takes on its way through the threads, however short it is, in characters. */
export const answerWeight = 1024;

/** Characters of all texts, addresses and data URLs, and what each answer takes: what a group weighs before it is prepared. */
export function weightOf({ prefix, branches }: Group): number {
  let length = answerWeight * branches.length;
  for (const { content } of [...prefix, ...branches]) {
    if (typeof content === "string") length += content.length;
    else for (const part of content) length += partLength(part);
  }
  return length;
}

function partLength(part: Exclude<Message["content"], string>[number]): number {
  if (part.type === "text") return part.text.length;
  if (part.type === "image") return part.image.length;
  return typeof part.video === "string"
    ? part.video.length
    : part.video.reduce((length, frame) => length + frame.length, 0);
}

/** Whether it has pictures or videos. */
export const hasMedia = ({ prefix, branches }: Group): boolean =>
  [...prefix, ...branches].some(
    ({ content }) => typeof content !== "string" && content.some(({ type }) => type !== "text"),
  );
