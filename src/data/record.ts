/**
 * @file One line of input: JSON, checked and typed. docs/cli.md describes the kinds of record.
 */

import { z } from "zod";
import type { Message } from "../conversation.ts";
import { VlRewardError } from "../errors.ts";
import { readMessages, text, wireMessages } from "./messages.ts";
import { type RecordId, readRecordLine } from "./record-line.ts";

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

/** A conversation ending with the user's turn, and no answer to it: nothing that could be scored. */
export interface PromptRecord {
  readonly kind: "prompt";
  readonly messages: readonly Message[];
}

/** What became of a line; a bad record keeps its id as far as it could be read. */
export type ReadRecord<Kind extends PreferenceRecord | PromptRecord = PreferenceRecord> =
  | { readonly id: RecordId; readonly record: Kind }
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
  const read = readRecordLine(line, lineNumber, wireRecord, readScorable);
  return "error" in read ? read : { id: read.id, record: read.value };
}

/** As `readRecord`, for those who want the prompt alone: a record may lack the answer. */
export function readPromptRecord(line: string, lineNumber: number): ReadRecord<PreferenceRecord | PromptRecord> {
  const read = readRecordLine(line, lineNumber, wireRecord, readKind);
  return "error" in read ? read : { id: read.id, record: read.value };
}

function readScorable(wire: z.infer<typeof wireRecord>): PreferenceRecord {
  const record = readKind(wire);
  if (record.kind === "prompt") throw nothingToScore("user");
  return record;
}

function readKind(wire: z.infer<typeof wireRecord>): PreferenceRecord | PromptRecord {
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
  if (last === "user") return { kind: "prompt", messages };
  if (last !== "assistant") throw nothingToScore(last);
  return { kind: "conversation", messages };
}

const nothingToScore = (last: string | undefined): VlRewardError =>
  new VlRewardError(
    "no_assistant_turn",
    `nothing to score: the last of the messages is the ${last}'s; ` +
      "end with an assistant turn, or add responses, or chosen and rejected",
  );

/** The prompt of answers ends with the user's turn. `answers` is what an error calls them. Throws `invalid_roles`. */
export function requireUserTurn(last: string | undefined, answers: string): void {
  if (last === "user") return;
  throw new VlRewardError(
    "invalid_roles",
    `messages must end with a user turn when the record has ${answers}, found ${last} last`,
  );
}
