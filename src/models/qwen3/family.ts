/** @file Qwen3 as a family: text alone, with a reward head that transformers calls `score`. */
import { asObject, type JsonObject, without } from "../../files/json.ts";
import type { ExportOptions, Family } from "../family.ts";
import { parseConfig } from "./config.ts";
import { Qwen3, shapeOf } from "./model.ts";
import { pythonExample } from "./python-example.ts";

export function qwen3(_: string, json: unknown, file: string, texts: string): Family {
  const config = parseConfig(json, file);
  const name = "Qwen3";
  return {
    name,
    modelType: "qwen3",
    shape: shapeOf(config),
    createBackbone: () => new Qwen3(config),
    loadProcessor: async () => {
      const { Processor } = await import("../processor.ts");
      const { maxPositions, vocabSize: vocabulary } = config;
      return Processor.load(texts, { name, maxPositions, vocabulary });
    },
    parameterName: (stored) => stored,
    currentName: (parameter) => parameter,
    pixelLimits: undefined,
    headPlace: "score",
    pythonExample,
    exportedFiles: (options) => ({ "config.json": exportedConfig(json, options) }),
  };
}

/**
 * The base's config.json, flat as transformers 4 writes it; what is not known here is kept. A sequence classifier has its head in
 * the weights: with a head elsewhere, transformers would draw one.
 */
function exportedConfig(base: unknown, { dtype, storesLanguageHead, head }: ExportOptions): JsonObject {
  const top = asObject(base) ?? {};
  const { text_config: text, ...rest } = top;
  const config = without({ ...rest, ...asObject(text), model_type: "qwen3" }, "untrained", "dtype", "rope_parameters");
  const rope = asObject(asObject(text)?.rope_parameters ?? top.rope_parameters);
  return {
    ...config,
    ...(rope && { rope_theta: rope.rope_theta ?? config.rope_theta ?? 1e6, rope_scaling: null }),
    architectures: [head === "score" ? "Qwen3ForSequenceClassification" : "Qwen3ForCausalLM"],
    torch_dtype: dtype,
    ...(head === "score" && { num_labels: 1, id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 } }),
    tie_word_embeddings: config.tie_word_embeddings ?? !storesLanguageHead,
  };
}
