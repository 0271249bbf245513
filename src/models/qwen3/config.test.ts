import { describe, expect, test } from "vitest";
import { parseConfig } from "./config.ts";

/** What transformers 4.57.6 prints of `Qwen3Config()`. */
const defaults = {
  vocabSize: 151_936,
  hiddenSize: 4096,
  intermediateSize: 22_016,
  layers: 32,
  heads: 32,
  keyValueHeads: 32,
  headWidth: 128,
  maxPositions: 32_768,
  normEpsilon: 1e-6,
  ropeTheta: 10_000,
};

/** config.json of Qwen3-0.6B, as published. */
const fields = {
  attention_bias: false,
  head_dim: 128,
  hidden_act: "silu",
  hidden_size: 1024,
  intermediate_size: 3072,
  max_position_embeddings: 40_960,
  max_window_layers: 28,
  num_attention_heads: 16,
  num_hidden_layers: 28,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-6,
  sliding_window: null,
  use_sliding_window: false,
  vocab_size: 151_936,
};
const published = {
  vocabSize: 151_936,
  hiddenSize: 1024,
  intermediateSize: 3072,
  layers: 28,
  heads: 16,
  keyValueHeads: 8,
  headWidth: 128,
  maxPositions: 40_960,
  normEpsilon: 1e-6,
  ropeTheta: 1e6,
};

const type = { model_type: "qwen3", architectures: ["Qwen3ForSequenceClassification"], tie_word_embeddings: true };
const scaled = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32_768 };

test("what is absent is as in transformers' Qwen3Config", () => {
  expect(parseConfig(type, "config.json")).toEqual(defaults);
});

describe("the ways in which transformers has written the same", () => {
  test.each<[how: string, json: unknown]>([
    ["version 4", { ...type, ...fields, rope_theta: 1_000_000, rope_scaling: null, torch_dtype: "bfloat16" }],
    [
      "version 5",
      { ...type, ...fields, rope_parameters: { rope_theta: 1e6, rope_type: "default" }, dtype: "bfloat16" },
    ],
    ["under text_config", { ...type, text_config: { ...fields, model_type: "qwen3", rope_theta: 1e6 } }],
    ["a scaling that does not scale", { ...type, ...fields, rope_theta: 1e6, rope_scaling: { type: "default" } }],
  ])("%s", (_, json) => {
    expect(parseConfig(json, "config.json")).toEqual(published);
  });
});

test.each<[what: string, change: Record<string, unknown>, code: string, found: RegExp]>([
  ["quantised weights", { quantization_config: { quant_method: "gptq" } }, "checkpoint_unsupported", /quantised/],
  ["sliding windows", { use_sliding_window: true }, "checkpoint_unsupported", /use_sliding_window/],
  [
    "layers of windows",
    { layer_types: ["full_attention", "sliding_attention"] },
    "checkpoint_unsupported",
    /"sliding_/,
  ],
  ["biases in attention", { attention_bias: true }, "checkpoint_unsupported", /attention_bias/],
  ["scaled positions, version 4", { rope_scaling: scaled }, "checkpoint_unsupported", /"yarn"/],
  ["scaled positions, version 5", { rope_parameters: scaled }, "checkpoint_unsupported", /"yarn"/],
  ["heads that cannot share", { num_key_value_heads: 5 }, "config_invalid", /16 heads .* 5 key\/value/],
  ["heads of odd width", { head_dim: 27 }, "config_invalid", /head_dim 27/],
  ["another activation", { hidden_act: "gelu" }, "config_invalid", /hidden_act/],
  ["no number", { hidden_size: "1024" }, "config_invalid", /hidden_size/],
  ["another model", { model_type: "qwen2" }, "config_invalid", /model_type/],
])("refused, with what was found: %s", (_, change, code, found) => {
  const parse = () => parseConfig({ ...type, ...fields, ...change }, "config.json");
  expect(parse).toThrow(expect.objectContaining({ code, message: expect.stringMatching(found) }));
});
