/** @file JSON files, read whole, and objects by their keys. */
import { readFileSync } from "node:fs";
import { VlRewardError } from "../errors.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

/** Reads a JSON file of a checkpoint. Throws `config_invalid` naming it where it is absent or broken. */
export function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    const reason = cause instanceof SyntaxError ? `it is not JSON: ${cause.message}` : "it cannot be read";
    throw new VlRewardError("config_invalid", `${file}: ${reason}. A checkpoint folder needs this file.`, { cause });
  }
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
