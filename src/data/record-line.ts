/**
 * @file What every kind of record has in common: a line of JSON, an object by a schema, an id. Keys that a schema does
 * not name are the user's own and are not looked at; a key whose value is null counts as absent.
 */

import type { z } from "zod";
import { quote, VlRewardError } from "../errors.ts";
import { repeatedKey } from "./json-keys.ts";
import { assertBounded } from "./json-size.ts";
import { knownPartKeys, withoutNulls } from "./messages.ts";
import { describe, invalidRecord } from "./schema-errors.ts";

/** Given by the user and returned as it is, or the zero-based number of the line. Need not be unique. */
export type RecordId = string | number;

/** What became of a line; a bad record keeps its id as far as it could be read. */
export type LineResult<Value> =
  | { readonly id: RecordId; readonly value: Value }
  | { readonly id: RecordId; readonly error: VlRewardError };

/**
 * Reads one line; whatever is in it, this returns and does not throw.
 *
 * @param read is given what the schema accepts; the VlRewardErrors it throws are the record's
 */
export function readRecordLine<Wire, Value>(
  line: string,
  lineNumber: number,
  schema: z.ZodType<Wire>,
  read: (wire: Wire, id: RecordId) => Value,
): LineResult<Value> {
  let id: RecordId = lineNumber;
  try {
    const value = withoutNulls(parseJson(line));
    if (typeof value === "object" && value !== null && "id" in value) id = readId(value.id);
    const wire = schema.safeParse(value);
    if (!wire.success) throw invalidRecord(value, wire.error, (path) => knownPartKeys(value, path));
    return { id, value: read(wire.data, id) };
  } catch (error) {
    if (error instanceof VlRewardError) return { id, error };
    throw error;
  }
}

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
