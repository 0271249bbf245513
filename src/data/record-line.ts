/**
 * @file What every kind of record has in common: a line of JSON, an object of some format, an id. A key whose value is null
 * counts as absent.
 */

import { quote, VlRewardError } from "../errors.ts";
import type { RecordFormat } from "./formats/format.ts";
import { assertAllRead, formatOf } from "./formats/formats.ts";
import { openaiMessages } from "./formats/openai-messages.ts";
import type { Row } from "./formats/row.ts";
import { repeatedKey } from "./json-keys.ts";
import { assertBounded } from "./json-size.ts";
import { withoutNulls } from "./parts.ts";
import { describe } from "./schema-errors.ts";

/** Given by the user and returned as it is, or the zero-based number of the line. Need not be unique. */
export type RecordId = string | number;

/** What became of a line; a bad record keeps its id as far as it could be read. */
export type LineResult<Value> =
  | { readonly id: RecordId; readonly value: Value }
  | { readonly id: RecordId; readonly error: VlRewardError };

/** A record of some format. */
export interface ReadRow {
  readonly format: RecordFormat;
  readonly row: Row;
  /** As it stands in the line, keys that are null left out. */
  readonly record: Readonly<Record<string, unknown>>;
}

/**
 * Reads one line; whatever is in it, this returns and does not throw.
 *
 * @param read is given what the line says; the VlRewardErrors it throws are the record's
 */
export function readRecordLine<Value>(
  line: string,
  lineNumber: number,
  read: (found: ReadRow, id: RecordId) => Value,
): LineResult<Value> {
  try {
    return readRecordValue(parseJson(line), lineNumber, read);
  } catch (error) {
    if (error instanceof VlRewardError) return { id: lineNumber, error };
    throw error;
  }
}

/** As `readRecordLine`, for what has been parsed already: a key that stood twice cannot be told any more. */
export function readRecordValue<Value>(
  value: unknown,
  number: number,
  read: (found: ReadRow, id: RecordId) => Value,
): LineResult<Value> {
  let id: RecordId = number;
  try {
    const record = withoutNulls(value);
    if (!isRecord(record))
      throw new VlRewardError("invalid_record", `expected a record, an object, found ${describe(record)}`);
    if ("id" in record) id = readId(record.id);
    const format = formatOf(record);
    return { id, value: read({ format, row: readRow(record, format), record }, id) };
  } catch (error) {
    if (error instanceof VlRewardError) return { id, error };
    throw error;
  }
}

function readRow(record: Readonly<Record<string, unknown>>, format: RecordFormat): Row {
  try {
    assertAllRead(record, format);
    return format.read(record);
  } catch (error) {
    // Whoever does not know that a record is taken for another tool's would look for `messages`.
    if (!(error instanceof VlRewardError) || format === openaiMessages) throw error;
    throw new VlRewardError(error.code, `${error.message} (read as ${format.title})`, { cause: error });
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function parseJson(line: string): unknown {
  assertBounded(line);
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
