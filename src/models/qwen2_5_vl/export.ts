/**
 * @file The JSON files of an exported Qwen2.5-VL checkpoint, in the form that transformers 4.51.3 reads. Later versions read it
 * too, but write another one: text fields under `text_config`, positions under `rope_parameters`, pictures' sizes in
 * processor_config.json.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import type { PixelLimits } from "../../conversation.ts";
import { asObject, type JsonObject, readJsonObject, without } from "../../files/json.ts";
import type { ExportOptions } from "../family.ts";
import { loadPreprocessorConfig } from "./preprocessor-config.ts";

/** The base's config.json for weights of this dtype; what is not known here is kept. */
export function exportedConfig(base: unknown, { dtype, storesLanguageHead }: ExportOptions): JsonObject {
  const config = without(asObject(base) ?? {}, "untrained", "dtype");
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
export function exportedPreprocessor(base: string, limits: PixelLimits): JsonObject {
  const given = loadPreprocessorConfig(base);
  const file = path.join(base, "preprocessor_config.json");
  const fields = existsSync(file)
    ? readJsonObject(file)
    : (asObject(readJsonObject(path.join(base, "processor_config.json")).image_processor) ?? {});
  return {
    image_processor_type: "Qwen2VLImageProcessor",
    processor_class: "Qwen2_5_VLProcessor",
    ...without(fields, "size"),
    min_pixels: limits.minPixels ?? given.minPixels,
    max_pixels: limits.maxPixels ?? given.maxPixels,
  };
}
