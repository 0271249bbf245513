/** @file JSON files, read whole, and objects by their keys. */
import { VlRewardError } from "../errors.ts";
import { readRegularFile, UnsuitableFile } from "./regular-file.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

/** Parsed, this becomes a few hundred megabytes at worst; an index of 100,000 tensors has eight. */
const maxBytes = 16e6;

/** Reads a JSON file of a checkpoint. Throws `config_invalid` naming it where it is absent, broken or no regular file. */
export function readJson(file: string): unknown {
  try {
    return JSON.parse(readRegularFile(file, maxBytes).toString("utf8"));
  } catch (cause) {
    throw new VlRewardError("config_invalid", `${file}: ${reason(cause)}. A checkpoint folder needs this file.`, {
      cause,
    });
  }
}

function reason(cause: unknown): string {
  if (cause instanceof SyntaxError) return `it is not JSON: ${cause.message}`;
  return cause instanceof UnsuitableFile ? `it cannot be read: ${cause.message}` : "it cannot be read";
}

/** As readJson; throws `config_invalid` for any other value, too. */
export function readJsonObject(file: string): JsonObject {
  const found = asObject(readJson(file));
  if (found) return found;
  throw new VlRewardError("config_invalid", `${file} is not a JSON object.`);
}

/** The value where it is an object, and no list. */
export const asObject = (value: unknown): JsonObject | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;

export const without = (json: JsonObject, ...keys: string[]): Record<string, unknown> =>
  Object.fromEntries(Object.entries(json).filter(([key]) => !keys.includes(key)));
