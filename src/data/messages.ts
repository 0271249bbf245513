/**
 * @file OpenAI chat messages as they stand in JSON, checked and turned into the types of src/conversation.ts.
 *
 * A part's unknown keys are errors, because a misspelt `max_pixels` would silently change a score; OpenAI's `detail`
 * and the `cache_control` of other services say nothing to this model and are let through. A key whose value is null
 * counts as absent: tables exported from Arrow fill every row with all keys. A message may carry keys of its own, but
 * not tool calls, which would be lost.
 */

import { z } from "zod";
import type { Message, Part, Role } from "../conversation.ts";
import { quote, VlRewardError } from "../errors.ts";
import { camelCase } from "../files/camel-case.ts";
import { jsonPath } from "./schema-errors.ts";

/** Text that has an encoding: half a surrogate pair has none, and a tokenizer would replace it without a word. */
export const text = z
  .string("a string")
  .refine((value) => !/\p{Surrogate}/u.test(value), "the text holds half of a surrogate pair, which is no character");

const address = text
  .refine((value) => value !== "", "the address is empty")
  .refine((value) => !value.includes("\0"), "the address holds a NUL character");
const count = z.int("a positive whole number").positive("a positive whole number");
const seconds = z.number("a number of seconds").nonnegative("a number of seconds that is not negative");

const ignored = { detail: z.unknown().optional(), cache_control: z.unknown().optional() };
const size = {
  min_pixels: count.exactOptional(),
  max_pixels: count.exactOptional(),
  resized_height: count.exactOptional(),
  resized_width: count.exactOptional(),
};

const imageUrl = z.strictObject({ url: address, detail: z.unknown().optional() }, 'an object with "url"');

const parts = {
  text: z.strictObject({ type: z.literal("text"), text, ...ignored }),
  image_url: z.strictObject({
    type: z.literal("image_url"),
    image_url: z.union([address, imageUrl], 'an object with "url", or an address'),
    ...size,
    ...ignored,
  }),
  image: z.strictObject({ type: z.literal("image"), image: address, ...size, ...ignored }),
  video: z.strictObject({
    type: z.literal("video"),
    video: z.union(
      [address, z.array(address, "a list of addresses")],
      "an address or a list of the addresses of its frames",
    ),
    fps: z.number("a positive number").positive("a positive number").exactOptional(),
    nframes: count.exactOptional(),
    min_frames: count.exactOptional(),
    max_frames: count.exactOptional(),
    video_start: seconds.exactOptional(),
    video_end: seconds.exactOptional(),
    total_pixels: count.exactOptional(),
    ...size,
    ...ignored,
  }),
};

const part = z.preprocess(
  withoutNulls,
  z.discriminatedUnion(
    "type",
    [parts.text, parts.image_url, parts.image, parts.video],
    `a part of a known type (${Object.keys(parts).join(", ")})`,
  ),
);

const message = z.object(
  {
    role: z.string("a role: system, user or assistant"),
    content: z.union([text, z.array(part, "a list of parts")], "a string or a list of parts"),
    tool_calls: z.null("no tool calls, which cannot be scored; put them into the content").optional(),
  },
  "a message: an object with role and content",
);

/** The messages of a record; `readMessages` turns what it accepts into conversation types. */
export const wireMessages = z.array(message, "a list of messages");

/** Drops the keys of an object whose value is null; anything else is left for a schema to judge. */
export function withoutNulls(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== null));
}

/** The keys that the object at `path` inside a record may have, given the record; for naming a misspelt one. */
export function knownPartKeys(record: unknown, path: readonly PropertyKey[]): readonly string[] {
  if (path.at(-1) === "image_url") return Object.keys(imageUrl.shape);
  let at = record;
  for (const key of [...path, "type"]) at = typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined;
  const known = Object.entries(parts).find(([type]) => type === at)?.[1];
  return known === undefined ? [] : Object.keys(known.shape);
}

/**
 * Wire messages as conversation types.
 *
 * @param key where they stand in the record, for errors
 * @throws VlRewardError `invalid_roles` as the chat template wants it: a system turn first or not at all, otherwise
 *   user and assistant in any order
 */
export function readMessages(wire: z.infer<typeof wireMessages>, key = "messages"): readonly Message[] {
  if (wire.length === 0) throw new VlRewardError("invalid_roles", `${key}: expected at least one turn, found none`);
  return wire.map(({ role, content }, turn) => ({
    role: readRole(role, key, turn),
    content: typeof content === "string" ? content : content.map(readPart),
  }));
}

function readRole(role: string, key: string, turn: number): Role {
  const path = jsonPath([key, turn, "role"]);
  if (role !== "system" && role !== "user" && role !== "assistant") {
    throw new VlRewardError("invalid_roles", `${path}: expected system, user or assistant, found ${quote(role)}`);
  }
  if (role === "system" && turn > 0) {
    throw new VlRewardError("invalid_roles", `${path}: only the first turn may be the system's`);
  }
  return role;
}

/** Limits that contradict each other are found where they are used, by the processor. */
function readPart(wire: z.infer<typeof part>): Part {
  switch (wire.type) {
    case "text":
      return { type: "text", text: wire.text };
    case "image_url": {
      const { type, image_url, ...rest } = wire;
      const url = typeof image_url === "string" ? image_url : image_url.url;
      return { type: "image", image: url, ...camelCase(withoutIgnored(rest)) };
    }
    case "image":
      return camelCase(withoutIgnored(wire));
    case "video":
      return camelCase(withoutIgnored(wire));
  }
}

function withoutIgnored<T extends { detail?: unknown; cache_control?: unknown }>(wire: T) {
  const { detail, cache_control, ...rest } = wire;
  return rest;
}
