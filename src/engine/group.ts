/**
 * @file What the engine takes and gives: a group is one prompt with its answers, and its result one score for each.
 */

import type { Message } from "../conversation.ts";
import type { VlRewardError } from "../errors.ts";

/** Answers to one prompt. */
export interface Group {
  /** All turns before the answer. */
  readonly prefix: readonly Message[];
  /** The answers: one assistant turn each. */
  readonly branches: readonly Message[];
  /** What relative paths of pictures and videos are relative to. */
  readonly baseFolder: string;
}

/** One score for each branch, or why the group could not be scored. */
export type GroupResult =
  | {
      readonly scores: readonly number[];
      /** Of all its conversations, the prompt counted for each answer. */
      readonly tokens: number;
    }
  | { readonly error: VlRewardError };

/** Characters of all texts, addresses and data URLs: what a group weighs before it is prepared. */
export function textLength({ prefix, branches }: Group): number {
  let length = 0;
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
