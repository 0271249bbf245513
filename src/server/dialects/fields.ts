/** @file The fields of a body: read by a schema, or refused by the name of the key and of what was found. */

import { z } from "zod";
import { knownPartKeys, text } from "../../data/parts.ts";
import { invalidRecord } from "../../data/schema-errors.ts";
import { VlRewardError } from "../../errors.ts";
import type { Body } from "./dialect.ts";

/** Where a value stands in the body, such as ["documents", 2, "content"]. */
export type Key = readonly (string | number)[];

export const texts = z.array(text, "a list of strings");
export const flag = z.boolean("true or false");
export const tokenIds = z.array(z.int("a token id").nonnegative("a token id"), "a list of token ids");
export const count = z.int("a whole number").nonnegative("a whole number that is not negative");

/** Whether a key is there and not null. */
export const has = (body: Body, key: string): boolean => body[key] !== undefined && body[key] !== null;

export const invalid = (message: string): VlRewardError => new VlRewardError("invalid_request", message);

/** @throws VlRewardError `invalid_request` where the value is not as the schema says */
export function read<Schema extends z.ZodType>(schema: Schema, value: unknown, key: Key): z.infer<Schema> {
  const found = schema.safeParse(value);
  if (found.success) return found.data;
  const issues = found.error.issues.map((issue) => ({ ...issue, path: [...key, ...issue.path] }));
  const root = key.reduceRight<unknown>(
    (inner, step) => (typeof step === "number" ? sparse(step, inner) : { [step]: inner }),
    value,
  );
  const { message } = invalidRecord(root, new z.ZodError(issues), (path) => knownPartKeys(root, path));
  throw invalid(message);
}

/** As a record in which nothing else is: what a message says of a path is looked up in it. */
const sparse = (index: number, value: unknown): unknown => Object.assign([], { [index]: value });

/** As `read`; undefined where the key is absent or null. */
export function optional<Schema extends z.ZodType>(
  schema: Schema,
  body: Body,
  key: string,
): z.infer<Schema> | undefined {
  return has(body, key) ? read(schema, body[key], [key]) : undefined;
}

/** Whether a field is true. */
export const isOn = (body: Body, key: string): boolean => optional(flag, body, key) ?? false;

/** As the client calls it. */
export const modelOf = (body: Body): string | undefined =>
  optional(z.string("the name of a model"), body, "model") || undefined;
