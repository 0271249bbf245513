/**
 * @file OpenAI chat messages as they stand in JSON, checked and turned into the types of src/conversation.ts. A message may
 * carry keys of its own, but none that a model would have to read.
 */

import { z } from "zod";
import type { Part, Role } from "../conversation.ts";
import { quote, VlRewardError } from "../errors.ts";
import { type EmptyPart, readPart, text, wirePart } from "./parts.ts";
import { describe, jsonPath } from "./schema-errors.ts";
import { carriesMedia, isEmpty, mediaAdvice } from "./unread.ts";

export const wireContent = z.union([text, z.array(wirePart, "a list of parts")], "a string or a list of parts");

export const wireMessage = z.looseObject(
  {
    role: z.string("a role: system, user or assistant"),
    content: wireContent.nullish(), // null beside a refusal or a tool call, which is told first
  },
  "a message: an object with role and content",
);

/** The messages of a record; `readMessages` turns what it accepts into conversation types. */
export const wireMessages = z.array(wireMessage, "a list of messages");
export type WireMessage = z.infer<typeof wireMessage>;

/** A turn whose pictures and videos may stand elsewhere in the record: beside.ts fills them in. */
export interface DraftMessage {
  readonly role: Role;
  readonly content: string | readonly (Part | EmptyPart)[];
  /** Where it stands in the record, for errors. */
  readonly path: string;
}

const roles: readonly string[] = ["system", "user", "assistant", "tool", "developer"] satisfies Role[];
const isRole = (role: string): role is Role => roles.includes(role);

/** What a message may hold for other models, and what to do with it. */
const unreadInMessages: Readonly<Record<string, string>> = {
  tool_calls: "expected no tool calls, which cannot be scored; put them into the content",
  function_call: "expected no tool calls, which cannot be scored; put them into the content",
  reasoning_content: "would not be read; put it into the content, before the answer, as the model's template writes it",
  reasoning: "would not be read; put it into the content, before the answer, as the model's template writes it",
  thinking: "would not be read; put it into the content, before the answer, as the model's template writes it",
  refusal: "would not be read; put it into the content",
  audio: "would not be heard: the model reads text, pictures and video",
};

/**
 * Wire messages as turns. Which roles may follow which is the chat template's to say.
 *
 * @param key where they stand in the record, for errors
 * @throws VlRewardError `invalid_roles` for no turn and for a role that no template knows, `invalid_record` for what would not
 *   be read
 */
export function readMessages(wire: readonly WireMessage[], key = "messages"): DraftMessage[] {
  if (wire.length === 0) throw new VlRewardError("invalid_roles", `${key}: expected at least one turn, found none`);
  return wire.map((message, turn) => readMessage(message, jsonPath([key, turn])));
}

export function readMessage({ role, content, ...others }: WireMessage, path: string): DraftMessage {
  if (!isRole(role)) {
    throw new VlRewardError("invalid_roles", `${path}.role: expected ${roles.join(", ")}, found ${quote(role)}`);
  }
  assertUnimportant(others, path);
  if (content !== undefined && content !== null) {
    return { role, content: readContent(content, `${path}.content`), path };
  }
  const found = describe(content);
  throw new VlRewardError("invalid_record", `${path}.content: expected a string or a list of parts, found ${found}`);
}

export function readContent(content: z.infer<typeof wireContent>, path: string): DraftMessage["content"] {
  return typeof content === "string" ? content : content.map((part, index) => readPart(part, `${path}[${index}]`));
}

/**
 * @param others the keys of a turn beside those that are read
 * @throws VlRewardError `invalid_record` where one holds what a model would have to read
 */
export function assertUnimportant(others: Readonly<Record<string, unknown>>, path: string): void {
  for (const [key, value] of Object.entries(others)) {
    if (isEmpty(value)) continue;
    const reason = unreadInMessages[key];
    if (reason !== undefined) {
      throw new VlRewardError("invalid_record", `${path}.${key}: ${reason}, found ${describe(value)}`);
    }
    if (!carriesMedia(key, value)) continue;
    throw new VlRewardError("invalid_record", `${path}: ${mediaAdvice(key)}, or write the parts of the content`);
  }
}
