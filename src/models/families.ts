/**
 * @file The families of backbones: which of them a checkpoint folder is of, by its config.json. The only file that knows their
 * folders.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { readJson, readJsonObject } from "../files/json.ts";
import type { Family } from "./family.ts";
import { qwen25VL } from "./qwen2_5_vl/family.ts";
import { qwen3 } from "./qwen3/family.ts";

/**
 * -> the family of a folder whose config.json holds `config`. `file` is its path, for messages; `texts` the folder with tokenizer
 * and chat template.
 */
type FamilyReader = (folder: string, config: unknown, file: string, texts: string) => Family;

const families: ReadonlyMap<string, FamilyReader> = new Map([
  ["qwen2_5_vl", qwen25VL],
  ["qwen3", qwen3],
]);

const typed = z.object({ model_type: z.string() });

/**
 * Throws `config_invalid` for a config.json that is missing or wrong, `checkpoint_unsupported` for another kind of model.
 *
 * @param base the folder of the model that `folder` is an adapter of; it is the base's family, with the adapter's tokenizer
 *   and chat template where it has them
 */
export function familyOf(folder: string, base?: string): Family {
  const model = base ?? folder;
  const file = path.join(model, "config.json");
  const config = readJson(file);
  const { data } = typed.safeParse(config);
  const reader = families.get(data?.model_type ?? "");
  if (reader) return reader(model, config, file, base === undefined ? folder : textFolder(folder, base));
  const known = [...families.keys()].join(", ");
  if (data === undefined) {
    throw new VlRewardError("config_invalid", `${file}: model_type: expected one of ${known}, found none.`);
  }
  throw new VlRewardError(
    "checkpoint_unsupported",
    `${file}: model_type is ${JSON.stringify(data.model_type.slice(0, 80))}; supported are ${known}.`,
  );
}

/** -> of an adapter's folder and its base's, the one with the tokenizer and the template that it was trained with */
export function textFolder(adapter: string, base: string): string {
  const has = (name: string): boolean => existsSync(path.join(adapter, name));
  if (!has("tokenizer.json")) return base;
  if (has("chat_template.jinja") || has("chat_template.json")) return adapter;
  return has("tokenizer_config.json") && "chat_template" in readJsonObject(path.join(adapter, "tokenizer_config.json"))
    ? adapter
    : base;
}
