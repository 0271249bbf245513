/**
 * @file The families of backbones: which of them a checkpoint folder is of, by its config.json. The only file that knows their
 * folders.
 */
import path from "node:path";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { readJson } from "../files/json.ts";
import type { Family } from "./family.ts";
import { qwen25VL } from "./qwen2_5_vl/family.ts";
import { qwen3 } from "./qwen3/family.ts";

/** -> the family of a folder whose config.json holds `config`. `file` is its path, for messages. */
type FamilyReader = (folder: string, config: unknown, file: string) => Family;

const families: ReadonlyMap<string, FamilyReader> = new Map([
  ["qwen2_5_vl", qwen25VL],
  ["qwen3", qwen3],
]);

const typed = z.object({ model_type: z.string() });

/** Throws `config_invalid` for a config.json that is missing or wrong, `checkpoint_unsupported` for another kind of model. */
export function familyOf(folder: string): Family {
  const file = path.join(folder, "config.json");
  const config = readJson(file);
  const { data } = typed.safeParse(config);
  const reader = families.get(data?.model_type ?? "");
  if (reader) return reader(folder, config, file);
  const known = [...families.keys()].join(", ");
  if (data === undefined) {
    throw new VlRewardError("config_invalid", `${file}: model_type: expected one of ${known}, found none.`);
  }
  throw new VlRewardError(
    "checkpoint_unsupported",
    `${file}: model_type is ${JSON.stringify(data.model_type)}; supported are ${known}.`,
  );
}
