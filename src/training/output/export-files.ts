/** @file The files of an exported checkpoint that are text: tokenizer and chat template, as the base has them. */
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { VlRewardError } from "../../errors.ts";
import { readJsonObject } from "../../files/json.ts";
import { parseJsonFile } from "../../tokenizer/config-file.ts";
import { tokenizerJson } from "../../tokenizer/tokenizer-json.ts";
import { saveTokenizer } from "../../tokenizer/train.ts";

/** What is copied as it is, where it is there. */
const copied = [
  "tokenizer.json",
  "tokenizer_config.json",
  "vocab.json",
  "merges.txt",
  "added_tokens.json",
  "special_tokens_map.json",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
];

/** Puts the tokenizer's files, the chat template and generation_config.json of `base` into `folder`. */
export async function copyTextFiles(base: string, folder: string): Promise<void> {
  const has = (name: string): boolean => existsSync(path.join(base, name));
  for (const name of copied) if (has(name)) copyFileSync(path.join(base, name), path.join(folder, name));
  const settings = has("tokenizer_config.json") ? readJsonObject(path.join(base, "tokenizer_config.json")) : {};
  const { chat_template } = settings;
  const isInSettingsAlone = !has("chat_template.jinja") && !has("chat_template.json") && chat_template !== undefined;
  if (isInSettingsAlone) {
    writeFileSync(path.join(folder, "chat_template.json"), `${JSON.stringify({ chat_template }, null, 2)}\n`);
  }
  if (has("vocab.json") && has("merges.txt")) return;
  const file = path.join(base, "tokenizer.json");
  if (!has("tokenizer.json")) {
    throw new VlRewardError("config_invalid", `${base} has neither tokenizer.json nor vocab.json with merges.txt.`);
  }
  // A tokenizer without a processor looks for the template in its settings, which are written anew.
  const template = isInSettingsAlone && typeof chat_template === "string" ? chat_template : undefined;
  await saveTokenizer(folder, parseJsonFile(file, readFileSync(file, "utf8"), tokenizerJson), template);
  copyFileSync(file, path.join(folder, "tokenizer.json"));
}

/** What an export may put into its folder besides weights. */
export const textFiles: readonly string[] = [...copied, "config.json", "preprocessor_config.json"];
