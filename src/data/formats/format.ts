/**
 * @file A format of records: which keys it has, how it is told from the others, and what its records say. One file of this
 * folder for each.
 */

import { z } from "zod";
import { besideKeys } from "../beside.ts";
import { knownPartKeys } from "../parts.ts";
import { invalidRecord } from "../schema-errors.ts";
import { metaKey } from "../unread.ts";
import type { Row } from "./row.ts";

export interface RecordFormat {
  /** On the wire and on the command line, such as "sharegpt". */
  readonly name: string;
  /** For people: whose it is. */
  readonly title: string;
  /** The formats whose files may hold such a record, too. */
  readonly among: readonly string[];
  /** The keys that are read or known to say nothing; any other that could carry input is refused. */
  readonly keys: readonly string[];
  /** Whether a record is meant to be of this format, by keys whose value is not null. The first format that says so has it. */
  detects(record: Readonly<Record<string, unknown>>): boolean;
  /** @throws VlRewardError where the record does not have the format's shape, or says nothing */
  read(record: Readonly<Record<string, unknown>>): Row;
}

/** What a training says of a record, in every format; read by preference.ts alone. */
export const labelKeys = ["margin", "weight", "source", "reference_log_probs"] as const;

/**
 * @param shape the keys of the format's own; those for pictures and videos beside the messages are added
 * @param read is given what the shape accepts
 */
export function defineFormat<Shape extends z.ZodRawShape>(format: {
  readonly name: string;
  readonly title: string;
  readonly among?: readonly string[];
  readonly shape: Shape;
  readonly detects: RecordFormat["detects"];
  readonly read: (wire: z.infer<z.ZodObject<Shape & typeof besideKeys>>) => Row;
}): RecordFormat {
  const { name, title, among = [], shape, detects, read } = format;
  const schema = z.object({ ...shape, ...besideKeys }, `a record: an object with ${Object.keys(shape)[0]}`);
  const keys = ["id", metaKey, ...labelKeys, ...Object.keys(schema.shape)];
  return {
    name,
    title,
    among,
    keys,
    detects,
    read: (record) => {
      const wire = schema.safeParse(record);
      if (wire.success) return read(wire.data);
      throw invalidRecord(record, wire.error, (path) => knownPartKeys(record, path));
    },
  };
}
