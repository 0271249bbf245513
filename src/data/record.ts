/**
 * @file One line of input: JSON, checked and typed. docs/cli.md describes the three kinds of record.
 *
 * A record may carry any further keys (`source`, `label`...): they are the user's own and are not looked at.
 */

import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import type { Message } from "../models/conversation.ts";
import { repeatedKey } from "./json-keys.ts";
import { knownPartKeys, readMessages, text, wireMessages, withoutNulls } from "./messages.ts";
import { describe, invalidRecord, quote } from "./schema-errors.ts";

/** Given by the user and returned as it is, or the zero-based number of the line. Need not be unique. */
export type RecordId = string | number;

/** A conversation whose last turn, the assistant's, is scored. */
export interface ConversationRecord {
  readonly kind: "conversation";
  readonly messages: readonly Message[];
}

/** A conversation ending with the user's turn, and the answers to be scored and compared. */
export interface CandidatesRecord {
  readonly kind: "candidates";
  readonly messages: readonly Message[];
  readonly responses: readonly string[];
}

/** A conversation ending with the user's turn, with a better and a worse answer. */
export interface PairRecord {
  readonly kind: "pair";
  readonly messages: readonly Message[];
  readonly chosen: string;
  readonly rejected: string;
}

export type PreferenceRecord = ConversationRecord | CandidatesRecord | PairRecord;

/** What became of a line; a bad record keeps its id as far as it could be read. */
export type ReadRecord =
  | { readonly id: RecordId; readonly record: PreferenceRecord }
  | { readonly id: RecordId; readonly error: VlRewardError };

const wireRecord = z.object(
  {
    messages: wireMessages,
    responses: z.array(text, "a list of strings").exactOptional(),
    chosen: text.exactOptional(),
    rejected: text.exactOptional(),
  },
  "a record: an object with messages",
);

/** Reads one line; whatever is in it, this returns and does not throw. */
export function readRecord(line: string, lineNumber: number): ReadRecord {
  let id: RecordId = lineNumber;
  try {
    const value = withoutNulls(parseJson(line));
    if (typeof value === "object" && value !== null && "id" in value) id = readId(value.id);
    const wire = wireRecord.safeParse(value);
    if (!wire.success) throw invalidRecord(value, wire.error, (path) => knownPartKeys(value, path));
    return { id, record: readKind(wire.data) };
  } catch (error) {
    if (error instanceof VlRewardError) return { id, error };
    throw error;
  }
}

function parseJson(line: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new VlRewardError("invalid_json", `the line is not readable JSON: ${reason}`, { cause });
  }
  const repeated = repeatedKey(line);
  if (repeated !== undefined) {
    throw new VlRewardError(
      "invalid_record",
      `the key ${quote(repeated)} stands twice in one object; keep one of them`,
    );
  }
  return value;
}

function readId(id: unknown): RecordId {
  if (typeof id === "string") return id;
  if (typeof id !== "number") {
    throw new VlRewardError("invalid_record", `id: expected a string or a number, found ${describe(id)}`);
  }
  if (!Number.isFinite(id) || (Number.isInteger(id) && !Number.isSafeInteger(id))) {
    throw new VlRewardError("invalid_record", "id: a number this large loses digits; write it as a string");
  }
  return id;
}

function readKind(wire: z.infer<typeof wireRecord>): PreferenceRecord {
  const { responses, chosen, rejected } = wire;
  if (responses !== undefined && (chosen !== undefined || rejected !== undefined)) {
    throw new VlRewardError("invalid_record", "a record has either responses, or chosen and rejected, but not both");
  }
  const messages = readMessages(wire.messages);
  const last = messages.at(-1)?.role;
  if (responses !== undefined) {
    if (responses.length === 0) throw new VlRewardError("empty_candidates", "responses: the list is empty");
    requireUserTurn(last, "responses");
    return { kind: "candidates", messages, responses };
  }
  if (chosen !== undefined || rejected !== undefined) {
    if (chosen === undefined || rejected === undefined) {
      const [has, lacks] = chosen === undefined ? ["rejected", "chosen"] : ["chosen", "rejected"];
      throw new VlRewardError("invalid_record", `${lacks}: expected a string beside ${has}, found nothing`);
    }
    requireUserTurn(last, "chosen and rejected");
    return { kind: "pair", messages, chosen, rejected };
  }
  if (last !== "assistant") {
    throw new VlRewardError(
      "no_assistant_turn",
      `nothing to score: the last of the messages is the ${last}'s; ` +
        "end with an assistant turn, or add responses, or chosen and rejected",
    );
  }
  return { kind: "conversation", messages };
}

function requireUserTurn(last: string | undefined, answers: string): void {
  if (last === "user") return;
  throw new VlRewardError(
    "invalid_roles",
    `messages must end with a user turn when the record has ${answers}, found ${last} last`,
  );
}
