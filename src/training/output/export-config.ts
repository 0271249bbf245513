/**
 * @file The JSON files of an exported checkpoint, in the form that transformers 4.51.3 reads. Later versions read it too,
 * but write another one: text fields under `text_config`, positions under `rope_parameters`, pictures' sizes in
 * processor_config.json, and no vocab.json.
 */

import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import type { PixelLimits } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { readJson } from "../../files/json.ts";
import { loadPreprocessorConfig } from "../../models/qwen2_5_vl/preprocessor-config.ts";
import { parseJsonFile } from "../../tokenizer/config-file.ts";
import { tokenizerJson } from "../../tokenizer/tokenizer-json.ts";
import { saveTokenizer } from "../../tokenizer/train.ts";
import type { Dtype } from "../../torch/index.ts";

type Json = Readonly<Record<string, unknown>>;

const object = z.record(z.string(), z.unknown());

function readObject(file: string): Json {
  const parsed = object.safeParse(readJson(file));
  if (parsed.success) return parsed.data;
  throw new VlRewardError("config_invalid", `${file} is not a JSON object.`);
}

const asObject = (value: unknown): Json | undefined => object.safeParse(value).data;

const without = (json: Json, ...keys: string[]): Record<string, unknown> =>
  Object.fromEntries(Object.entries(json).filter(([key]) => !keys.includes(key)));

/**
 * The base's config.json for weights of this dtype; what is not known here is kept.
 *
 * @param storesLanguageHead whether the base has lm_head.weight: says if embeddings are tied where the file does not
 */
export function exportedConfig(base: string, dtype: Dtype, storesLanguageHead: boolean): Record<string, unknown> {
  const config = without(readObject(path.join(base, "config.json")), "untrained", "dtype");
  const typed = { architectures: ["Qwen2_5_VLForConditionalGeneration"], torch_dtype: dtype };
  const text = asObject(config.text_config);
  if (!text) return { ...config, ...typed };
  const rope = asObject(text.rope_parameters) ?? asObject(text.rope_scaling) ?? {};
  const vision = asObject(config.vision_config) ?? {};
  return {
    ...without(config, "text_config"),
    ...without(text, "model_type", "architectures", "dtype", "torch_dtype", "layer_types", "rope_parameters"),
    ...typed,
    rope_theta: rope.rope_theta ?? text.rope_theta ?? 1e6,
    rope_scaling: { type: "mrope", mrope_section: rope.mrope_section },
    tie_word_embeddings: config.tie_word_embeddings ?? text.tie_word_embeddings ?? !storesLanguageHead,
    transformers_version: "4.51.3",
    vision_config: { ...without(vision, "dtype", "torch_dtype", "rope_parameters"), model_type: "qwen2_5_vl" },
  };
}

/** preprocessor_config.json with the limits that training used; those of the base where it set none. */
export function exportedPreprocessor(base: string, limits: PixelLimits): Record<string, unknown> {
  const { minPixels, maxPixels } = { ...loadPreprocessorConfig(base), ...defined(limits) };
  const file = path.join(base, "preprocessor_config.json");
  const fields = existsSync(file)
    ? readObject(file)
    : (asObject(readObject(path.join(base, "processor_config.json")).image_processor) ?? {});
  return {
    image_processor_type: "Qwen2VLImageProcessor",
    processor_class: "Qwen2_5_VLProcessor",
    ...without(fields, "size"),
    min_pixels: minPixels,
    max_pixels: maxPixels,
  };
}

const defined = (limits: PixelLimits): PixelLimits =>
  Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));

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
  const { chat_template } = has("tokenizer_config.json") ? readObject(path.join(base, "tokenizer_config.json")) : {};
  if (!has("chat_template.jinja") && !has("chat_template.json") && chat_template !== undefined) {
    writeFileSync(path.join(folder, "chat_template.json"), `${JSON.stringify({ chat_template }, null, 2)}\n`);
  }
  if (has("vocab.json") && has("merges.txt")) return;
  const file = path.join(base, "tokenizer.json");
  if (!has("tokenizer.json")) {
    throw new VlRewardError("config_invalid", `${base} has neither tokenizer.json nor vocab.json with merges.txt.`);
  }
  await saveTokenizer(folder, parseJsonFile(file, readFileSync(file, "utf8"), tokenizerJson));
  copyFileSync(file, path.join(folder, "tokenizer.json"));
}

/** What an export may put into its folder besides weights. */
export const textFiles: readonly string[] = [...copied, "config.json", "preprocessor_config.json"];
