/** @file What the dialects of trainers share: rendered texts, and the pictures that may stand elsewhere in the body. */

import type { ImagePart, VideoPart } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { mediaBeside, mediaOf, mediaUnder, readTurns } from "./conversations.ts";
import type { Body, Task } from "./dialect.ts";
import { has, invalid, type Key } from "./fields.ts";
import { lastJpeg } from "./last-jpeg.ts";
import { isRendered, readExchange, readRendered } from "./rendered.ts";
import type { MediaBeside } from "./written.ts";

/** Where `query` and `queries` find the pictures of each of their texts, in this order. */
const sources = ["images", "prompts", "labels"] as const;

/** The texts under a key as tasks, with the pictures of `images[i]`, else of `prompts[i]`, else of `labels[i]`. */
export function readSamples(body: Body, key: string, texts: readonly string[]): Task[] {
  if (has(body, "images")) entriesOf(body, "images", texts.length, key); // a client that sends pictures means them
  return texts.map((text, index) => {
    const own = `${key}[${index}]`;
    const rest = isRendered(text) ? undefined : afterMessages(body, text, index, texts.length, key);
    if (rest !== undefined) return rest;
    return readRendered(text, findMedia(body, index, texts.length, key), own);
  });
}

function findMedia(body: Body, index: number, count: number, key: string): MediaBeside | undefined {
  for (const source of sources) {
    const entry = entriesOf(body, source, count, key)?.[index];
    const parts = partsOf(source, entry, [source, index]);
    if (parts.length > 0) return { key: `${source}[${index}]`, parts };
  }
  return undefined;
}

function partsOf(source: (typeof sources)[number], entry: unknown, key: Key): readonly (ImagePart | VideoPart)[] {
  switch (source) {
    case "images":
      return mediaUnder("images", entry, key).map(onlyLast);
    case "prompts": {
      const found = messagesIn(entry);
      return found === undefined ? [] : mediaOf(found.messages, key, found.beside);
    }
    case "labels":
      return labelMedia(entry, key);
  }
}

/** The pictures of a label: an object with `images`, or one as JSON text. */
export const labelMedia = (label: unknown, key: Key): readonly (ImagePart | VideoPart)[] =>
  mediaBeside(mediaIn(label), key);

function mediaIn(label: unknown): Body {
  const found = typeof label === "string" ? parsed(label) : label;
  if (typeof found !== "object" || found === null || Array.isArray(found)) return {};
  return Object.fromEntries(Object.entries(found).filter(([name]) => name === "images" || name === "videos"));
}

const onlyLast = (part: ImagePart | VideoPart): ImagePart | VideoPart =>
  part.type === "image" ? { ...part, image: withLastJpeg(part.image) } : part;

function withLastJpeg(address: string): string {
  const comma = /^data:[^,]{0,100};base64,/.exec(address)?.[0].length ?? 0;
  const base64 = address.slice(comma);
  const last = lastJpeg(base64);
  return last === base64 ? address : address.slice(0, comma) + last;
}

/** One entry for each text; undefined where the body has none of them. */
function entriesOf(body: Body, source: string, count: number, key: string): readonly unknown[] | undefined {
  const value = body[source];
  if (!Array.isArray(value)) {
    if (source !== "images" || value === null || value === undefined) return undefined;
    throw invalid(`${source}: expected a list with an entry for each of ${key}`);
  }
  if (value.length === count) return value;
  if (source !== "images" && !value.some((entry) => holdsMedia(source, entry))) return undefined;
  throw invalid(`${source}: expected an entry for each of ${key}, ${count}, found ${value.length}`);
}

const holdsMedia = (source: string, entry: unknown): boolean =>
  source === "labels" ? Object.keys(mediaIn(entry)).length > 0 : messagesIn(entry) !== undefined;

/** A text that goes on behind the messages of its prompt, which the trainer has not rendered. */
function afterMessages(body: Body, text: string, index: number, count: number, key: string): Task | undefined {
  const prompt = entriesOf(body, "prompts", count, key)?.[index];
  const found = messagesIn(prompt);
  if (typeof prompt !== "string" || found === undefined || !text.startsWith(prompt)) return undefined;
  const hasOwn = mediaOf(found.messages, ["prompts", index], found.beside).length > 0;
  const images = entriesOf(body, "images", count, key)?.[index];
  const label = mediaIn(entriesOf(body, "labels", count, key)?.[index]);
  const beside = images ? { images } : hasOwn ? found.beside : label;
  const turns = readTurns(found.messages, ["prompts", index], beside);
  return readExchange(turns, text.slice(prompt.length), undefined, [`prompts[${index}]`, `${key}[${index}]`]);
}

/** The messages that a value is, or is the JSON text of, and the object around them. */
function messagesIn(value: unknown): { readonly messages: readonly unknown[]; readonly beside: Body } | undefined {
  const found = typeof value === "string" ? parsed(value) : value;
  const isWrapped = typeof found === "object" && found !== null && "messages" in found;
  const messages = isWrapped ? found.messages : found;
  if (!Array.isArray(messages) || messages.length === 0) return undefined;
  if (!messages.every((turn) => typeof turn === "object" && turn !== null && "role" in turn)) return undefined;
  return { messages, beside: isWrapped ? { ...found } : {} };
}

/** What a text is the JSON of, where that is an object or a list. */
function parsed(text: string): unknown {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof VlRewardError) return undefined;
    throw error;
  }
}
