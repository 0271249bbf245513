/**
 * @file Messages, and prompts and answers that stand by themselves, as tasks. They are read by the readers of records, so that the
 * same shapes mean the same everywhere.
 */

import { z } from "zod";
import type { ImagePart, Message, Part, PixelLimits, VideoPart } from "../../conversation.ts";
import { besideKeys, placeMedia, readBeside } from "../../data/beside.ts";
import { type DraftMessage, readContent, readMessages, wireContent, wireMessages } from "../../data/messages.ts";
import { text, withoutNulls } from "../../data/parts.ts";
import { jsonPath } from "../../data/schema-errors.ts";
import { VlRewardError } from "../../errors.ts";
import type { Body, ConversationTask, Task } from "./dialect.ts";
import { has, type Key, read } from "./fields.ts";
import { withMarkedMedia } from "./marks.ts";

const besideSchema = z.preprocess(withoutNulls, z.object(besideKeys, "an object"));

/**
 * A list of messages, the last of which is the answer.
 *
 * @param beside the object whose `images` and `videos` belong to the messages
 * @throws VlRewardError `no_assistant_turn` where the last turn is not the assistant's, and what the readers of records throw
 */
export function readConversation(value: unknown, key: Key, beside: Body = {}): ConversationTask {
  const messages = readTurns(value, key, beside);
  const answer = messages.at(-1);
  if (answer?.role === "assistant") return { prompt: messages.slice(0, -1), answers: [answer] };
  throw new VlRewardError(
    "no_assistant_turn",
    `${jsonPath(key)}: nothing to score: the last turn is the ${answer?.role ?? "user"}'s, and a reward is of an answer; end with an ` +
      "assistant turn",
  );
}

/** A list of messages with pictures in their places, whoever has the last turn. */
export function readTurns(value: unknown, key: Key, beside: Body = {}): readonly Message[] {
  const drafts = readMessages(read(wireMessages, value, key), jsonPath(key));
  return withMarkedMedia(placeMedia(drafts, readBeside(read(besideSchema, beside, []))));
}

/** The pictures and videos of messages, and what is beside them; a place that names none is none. */
export function mediaOf(value: unknown, key: Key, beside: Body): readonly (ImagePart | VideoPart)[] {
  const isBeside = Object.keys(besideKeys).some((name) => has(beside, name));
  const turns = isBeside ? readTurns(value, key, beside) : readMessages(read(wireMessages, value, key), jsonPath(key));
  return turns.flatMap(({ content }) =>
    typeof content === "string"
      ? []
      : content.flatMap((part) => ("type" in part && part.type !== "text" ? [part] : [])),
  );
}

/** What is beside messages, as parts; none where the object has nothing of the kind. */
export function mediaBeside(value: unknown, key: Key): readonly (ImagePart | VideoPart)[] {
  const { image, video } = readBeside(read(besideSchema, value, key));
  return [...(image?.parts ?? []), ...(video?.parts ?? [])].filter((part) => part.type !== "text");
}

/** Pictures or videos that stand by themselves under a key: null, one, or a list. */
export const mediaUnder = (kind: "images" | "videos", value: unknown, key: Key): readonly (ImagePart | VideoPart)[] =>
  value === null || value === undefined ? [] : mediaBeside({ [kind]: read(besideKeys[kind], value, key) }, key);

const contentObject = z.looseObject({ content: wireContent }, 'an object with "content"');
const mediaObject = z.looseObject({ text: text.nullish(), ...besideKeys }, 'an object with "text"');

/** One side of a pair: a string, a list of parts, {"content": either}, or {"text", "image"}. */
export function readSide(value: unknown, role: "user" | "assistant", key: Key): Message {
  const path = jsonPath(key);
  if (typeof value === "string" || typeof value !== "object" || value === null) {
    return settled({ role, content: read(sideText, value, key), path });
  }
  if (Array.isArray(value)) {
    return settled({ role, content: readContent(read(wireContent, value, key), path), path });
  }
  if ("content" in value) {
    const { content } = read(contentObject, value, key);
    return settled({ role, content: readContent(content, path), path });
  }
  const { text: words, ...media } = read(z.preprocess(withoutNulls, mediaObject), value, key);
  const parts: Part[] = [...mediaBeside(media, key)];
  if (words !== undefined && words !== null) parts.push({ type: "text", text: words });
  if (parts.length === 0) return settled({ role, content: read(sideText, value, key), path });
  return settled({ role, content: parts, path });
}

const sideText = z.string('a string, or an object with "text" or "content"').pipe(text);

function settled(draft: DraftMessage): Message {
  const [message] = withMarkedMedia(placeMedia([draft]));
  return message ?? { role: draft.role, content: "" };
}

/** A system turn before a prompt, where there is one to be. */
export const withInstruction = (instruction: string | undefined, prompt: readonly Message[]): readonly Message[] =>
  instruction ? [{ role: "system", content: instruction }, ...prompt] : prompt;

/** What a request says of all its pictures and videos; a part that says something of its own keeps it. */
export interface MediaOptions extends PixelLimits {
  readonly fps?: number;
  readonly nframes?: number;
}

export function withMediaOptions(task: Task, options: MediaOptions): Task {
  if (Object.keys(options).length === 0) return task;
  const { fps, nframes, ...pixels } = options;
  const sized = <P extends ImagePart | VideoPart>(part: P): P => (isSized(part) ? part : { ...part, ...pixels });
  const sampled = (part: VideoPart): VideoPart => {
    if (part.fps !== undefined || part.nframes !== undefined) return sized(part);
    return sized({ ...part, ...(fps !== undefined && { fps }), ...(nframes !== undefined && { nframes }) });
  };
  const change = <P extends Part>(part: P) =>
    part.type === "text" ? part : part.type === "image" ? sized(part) : sampled(part);
  if ("written" in task) {
    return { ...task, media: task.media.map((part) => (part.type === "image" ? sized(part) : sampled(part))) };
  }
  const changed = (messages: readonly Message[]): Message[] =>
    messages.map(({ role, content }) => ({
      role,
      content: typeof content === "string" ? content : content.map(change),
    }));
  return { prompt: changed(task.prompt), answers: changed(task.answers) };
}

const isSized = ({ minPixels, maxPixels, resizedHeight }: ImagePart | VideoPart): boolean =>
  [minPixels, maxPixels, resizedHeight].some((value) => value !== undefined);
