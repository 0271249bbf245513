/**
 * @file What the engine takes and gives: a group is one prompt with its answers, and its result what was read of each.
 */

import type { ImagePart, Message, Part, VideoPart } from "../conversation.ts";
import type { VlRewardError } from "../errors.ts";
import type { TextPlace } from "../models/prompt.ts";
import type { Answers } from "./read/questions.ts";

/** What the engine reads: answers to a prompt, or a conversation that somebody has rendered already. */
export type Group = AnswerGroup | WrittenGroup;

/** Answers to one prompt. */
export interface AnswerGroup {
  /** All turns before the answer. */
  readonly prefix: readonly Message[];
  /** The answers: one assistant turn each. */
  readonly branches: readonly Message[];
  /** What relative paths of pictures and videos are relative to. */
  readonly baseFolder: string;
}

/** A rendered conversation, read token for token: its one answer is read at its last token. */
export interface WrittenGroup {
  /** Token ids; or a text in which control tokens are recognised. A run of placeholders is the place of one picture or video. */
  readonly written: string | readonly number[];
  /** They fill the places in order. */
  readonly media: readonly (ImagePart | VideoPart)[];
  readonly baseFolder: string;
}

/** Who wants a group's answer, and by when. */
export interface Urgency {
  /** Higher is more urgent: what is under way is interrupted for it. 0 by default. */
  readonly priority?: number | undefined;
  /** Among groups of one priority, clients take turns; whoever names none is one of them. */
  readonly client?: string | undefined;
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
      /** How long it waited, for a thread or the device; how long it was prepared; how long the pass lasted that ended it. */
      readonly seconds: { readonly queue: number; readonly media: number; readonly compute: number };
    }
  | { readonly error: VlRewardError };

/** What an answer takes on its way through the threads, however short it is, in characters. */
export const answerWeight = 1024;

/** Characters of all texts, addresses and data URLs, and what each answer takes: what a group weighs before it is prepared. */
export function weightOf(group: Group): number {
  if ("written" in group) {
    const { written, media } = group;
    const length = typeof written === "string" ? written.length : 8 * written.length;
    return answerWeight + length + sumOf(media, partLength);
  }
  const { prefix, branches } = group;
  return answerWeight * branches.length + sumOf(prefix, messageLength) + sumOf(branches, messageLength);
}

const sumOf = <Item>(items: readonly Item[], size: (item: Item) => number): number =>
  items.reduce((sum, item) => sum + size(item), 0);

const messageLength = ({ content }: Message): number =>
  typeof content === "string" ? content.length : sumOf(content, partLength);

function partLength(part: Part): number {
  if (part.type === "text") return part.text.length;
  if (part.type === "image") return part.image.length;
  return typeof part.video === "string" ? part.video.length : sumOf(part.video, (frame) => frame.length);
}

/** Whether it has pictures or videos. */
export const hasMedia = (group: Group): boolean =>
  "written" in group ? group.media.length > 0 : [...group.prefix, ...group.branches].some(showsMedia);

const showsMedia = ({ content }: Message): boolean =>
  typeof content !== "string" && content.some(({ type }) => type !== "text");

/** How many answers it has. */
export const answersIn = (group: Group): number => ("written" in group ? 1 : group.branches.length);
