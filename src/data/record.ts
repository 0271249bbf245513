/**
 * @file One line of input: JSON of any format that is known, checked and typed. docs/records.md describes them.
 */

import type { Message } from "../conversation.ts";
import type { VlRewardError } from "../errors.ts";
import { nothingToScore, type Row } from "./formats/row.ts";
import { type LineResult, type ReadRow, type RecordId, readRecordLine, readRecordValue } from "./record-line.ts";

/** A prompt, which ends with the user's turn, and the answers to it that are scored. */
export interface PreferenceRecord {
  /** What it was written as, which its result is written as: one answer, several to be compared, a better and a worse one. */
  readonly kind: "conversation" | "candidates" | "pair";
  /** Of a conversation, what comes before its last turn: any turns, or none. */
  readonly prompt: readonly Message[];
  /** Assistant turns. */
  readonly answers: readonly Message[];
}

/** A prompt and no answer to it: nothing that could be scored. */
export interface PromptRecord {
  readonly kind: "prompt";
  readonly prompt: readonly Message[];
  readonly answers: readonly Message[];
}

/** What became of a line; a bad record keeps its id as far as it could be read. */
export type ReadRecord<Kind extends PreferenceRecord | PromptRecord = PreferenceRecord> =
  | { readonly id: RecordId; readonly format: string; readonly record: Kind }
  | { readonly id: RecordId; readonly error: VlRewardError };

/** Reads one line; whatever is in it, this returns and does not throw. */
export const readRecord = (line: string, lineNumber: number): ReadRecord =>
  flat(readRecordLine(line, lineNumber, as(scorable)));

/** As `readRecord`, for what has been parsed already. */
export const readParsedRecord = (value: unknown, number: number): ReadRecord =>
  flat(readRecordValue(value, number, as(scorable)));

/** As `readRecord`, for those who want the prompt alone: a record may lack the answer. */
export const readPromptRecord = (line: string, lineNumber: number): ReadRecord<PreferenceRecord | PromptRecord> =>
  flat(readRecordLine(line, lineNumber, as(anyKind)));

/** As `readPromptRecord`, for what has been parsed already. */
export const readParsedPromptRecord = (value: unknown, number: number): ReadRecord<PreferenceRecord | PromptRecord> =>
  flat(readRecordValue(value, number, as(anyKind)));

const as =
  <Kind>(kindOf: (row: Row) => Kind) =>
  ({ format, row }: ReadRow) => ({ format: format.name, record: kindOf(row) });

const flat = <Value extends object>(read: LineResult<Value>) =>
  "error" in read ? read : { id: read.id, ...read.value };

function scorable({ kind, prompt, answers }: Row): PreferenceRecord {
  if (kind === "prompt") throw nothingToScore(prompt.at(-1)?.role);
  return { kind, prompt, answers };
}

function anyKind({ kind, prompt, answers }: Row): PreferenceRecord | PromptRecord {
  return kind === "prompt" ? { kind, prompt, answers } : { kind, prompt, answers };
}
