/** @file JSON files, read whole. */
import { readFileSync } from "node:fs";
import { VlRewardError } from "../errors.ts";

/** Reads a JSON file of a checkpoint. Throws `config_invalid` naming it where it is absent or broken. */
export function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    const reason = cause instanceof SyntaxError ? `it is not JSON: ${cause.message}` : "it cannot be read";
    throw new VlRewardError("config_invalid", `${file}: ${reason}. A checkpoint folder needs this file.`, { cause });
  }
}
