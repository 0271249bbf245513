/** @file Reads the JSON and text files that stand beside a checkpoint's weights. */

import { join } from "node:path";
import type { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { readRegularFile } from "../files/regular-file.ts";
import { hasCode } from "../files/system-error.ts";

/** A vocabulary of 250,000 tokens and its merges take 20 MB. */
const maxBytes = 32e6;

/** @returns the file's text, or undefined if there is no such file */
export function readIfThere(folder: string, name: string, atMost = maxBytes): string | undefined {
  try {
    return readRegularFile(join(folder, name), atMost).toString("utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    const reason = error instanceof Error ? error.message : String(error);
    throw new VlRewardError("config_invalid", `${join(folder, name)} cannot be read: ${reason}`, { cause: error });
  }
}

/** @throws config_invalid with the path of the file and of the first value that is not as expected */
export function parseJsonFile<Value>(path: string, text: string, schema: z.ZodType<Value>): Value {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new VlRewardError("config_invalid", `${path} is not readable JSON: ${String(error)}`, { cause: error });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.map(String).join(".") || "the file";
  throw new VlRewardError("config_invalid", `${path}: ${where} is not supported: ${issue?.message ?? "unknown"}`);
}
