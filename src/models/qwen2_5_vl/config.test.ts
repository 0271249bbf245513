import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import defaults from "../../../test/fixtures/model/defaults.json" with { type: "json" };
import { readJson } from "../../files/json.ts";

import { parseConfig } from "./config.ts";

/** What config.json of the published 7B says. */
const published = {
  text: {
    vocabSize: 152_064,
    hiddenSize: 3584,
    intermediateSize: 18_944,
    layers: 28,
    heads: 28,
    keyValueHeads: 4,
    maxPositions: 128_000,
    normEpsilon: 1e-6,
    ropeTheta: 1e6,
    mropeSection: [16, 24, 24],
  },
  vision: {
    depth: 32,
    hiddenSize: 1280,
    intermediateSize: 3420,
    heads: 16,
    patchSize: 14,
    spatialMergeSize: 2,
    temporalPatchSize: 2,
    tokensPerSecond: 2,
    windowSize: 112,
    outHiddenSize: 3584,
    fullAttentionBlocks: [7, 15, 23, 31],
  },
  imageTokenId: 151_655,
  videoTokenId: 151_656,
};

const text = {
  vocab_size: 100,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-6,
  use_sliding_window: false,
};
const top = {
  model_type: "qwen2_5_vl",
  image_token_id: 5,
  video_token_id: 6,
  tie_word_embeddings: true,
  vision_config: { depth: 2, hidden_size: 16, num_heads: 2, intermediate_size: 24, out_hidden_size: 32 },
};
const mrope = { rope_theta: 5000, rope_scaling: { type: "mrope", mrope_section: [1, 1, 2] } };
/** As transformers 4 writes it. */
const flat = { ...top, ...text, ...mrope, torch_dtype: "bfloat16" };
const parse = (json: unknown) => parseConfig(json, "somewhere/config.json");

const file = fileURLToPath(new URL("../../../../shared/qwen2.5-vl-7b-instruct/config.json", import.meta.url));
test.skipIf(!existsSync(file))("the published config (needs ../shared)", () => {
  expect(parseConfig(readJson(file), file)).toEqual(published);
});

test("fields are read, all of them", () => {
  expect(parse({ ...flat, vision_config: { ...top.vision_config, window_size: 56, tokens_per_second: 3 } })).toEqual({
    text: {
      vocabSize: 100,
      hiddenSize: 32,
      intermediateSize: 48,
      layers: 3,
      heads: 4,
      keyValueHeads: 2,
      maxPositions: 512,
      normEpsilon: 1e-6,
      ropeTheta: 5000,
      mropeSection: [1, 1, 2],
    },
    vision: {
      ...published.vision,
      depth: 2,
      hiddenSize: 16,
      heads: 2,
      intermediateSize: 24,
      outHiddenSize: 32,
      windowSize: 56,
      tokensPerSecond: 3,
    },
    imageTokenId: 5,
    videoTokenId: 6,
  });
});

describe("the ways in which transformers has written the same", () => {
  const rope = { rope_type: "default", mrope_section: [1, 1, 2] };
  test.each([
    ["4.51, rope_type beside type", { ...flat, rope_scaling: { ...rope, type: "default" } }],
    ["4.52 on, text_config", { ...top, text_config: { ...text, rope_theta: 5000, rope_scaling: rope } }],
    [
      "5, rope_parameters and dtype",
      {
        ...top,
        dtype: "bfloat16",
        text_config: {
          ...text,
          model_type: "qwen2_5_vl_text",
          dtype: "bfloat16",
          layer_types: ["full_attention", "full_attention", "full_attention"],
          sliding_window: null,
          rope_parameters: { ...rope, rope_theta: 5000 },
        },
      },
    ],
  ])("%s", (_, json) => {
    expect(parse(json)).toEqual(parse(flat));
  });
});

test("defaults are those of transformers", () => {
  const config = parse({
    model_type: "qwen2_5_vl",
    image_token_id: 5,
    video_token_id: 6,
    vocab_size: 100,
    hidden_size: 3584, // the default width of the merger
    intermediate_size: 48,
    num_hidden_layers: 1,
    num_attention_heads: 28,
    num_key_value_heads: 4,
    rope_scaling: { mrope_section: [16, 24, 24] },
    vision_config: {},
  });
  expect({
    max_position_embeddings: config.text.maxPositions,
    rms_norm_eps: config.text.normEpsilon,
    rope_theta: config.text.ropeTheta,
  }).toEqual(defaults.text);
  const { vision } = config;
  expect({
    depth: vision.depth,
    hidden_size: vision.hiddenSize,
    intermediate_size: vision.intermediateSize,
    num_heads: vision.heads,
    patch_size: vision.patchSize,
    spatial_merge_size: vision.spatialMergeSize,
    temporal_patch_size: vision.temporalPatchSize,
    tokens_per_second: vision.tokensPerSecond,
    window_size: vision.windowSize,
    out_hidden_size: vision.outHiddenSize,
    fullatt_block_indexes: vision.fullAttentionBlocks,
  }).toEqual(defaults.vision);
});

describe("refused, with the file and the reason", () => {
  const { num_hidden_layers: _, ...withoutLayers } = flat;
  const vision = (change: object): object => ({ ...flat, vision_config: { ...top.vision_config, ...change } });

  test.each<[what: string, json: unknown, found: string]>([
    ["no object", [], "the file"],
    ["another model", { ...flat, model_type: "qwen2_vl" }, "model_type"],
    ["a missing field", withoutLayers, "num_hidden_layers"],
    ["a fraction of a layer", { ...flat, num_hidden_layers: 1.5 }, "num_hidden_layers"],
    ["another activation", { ...flat, hidden_act: "gelu" }, "hidden_act"],
    ["no vision tower", { ...flat, vision_config: undefined }, "vision_config"],
    ["no mrope_section", { ...flat, rope_scaling: null }, "mrope_section"],
    ["sections that do not fill a head", { ...flat, rope_scaling: { mrope_section: [1, 1, 1] } }, "adds up to 3"],
    ["heads that do not divide", { ...flat, num_key_value_heads: 3 }, "4 heads cannot share 3"],
    ["vision heads without quarters", vision({ num_heads: 8 }), "vision heads of 16/8"],
    ["a merger of another width", vision({ out_hidden_size: 64 }), "out_hidden_size 64"],
    ["windows smaller than a visual token", vision({ window_size: 27 }), "window_size 27"],
  ])("%s", (_, json, found) => {
    expect(() => parse(json)).toThrow(
      expect.objectContaining({
        code: "config_invalid",
        message: expect.stringMatching(new RegExp(`^somewhere/config.json: .*${found}`)),
      }),
    );
  });

  test.each<[what: string, json: unknown, found: string]>([
    ["quantised weights", { ...flat, quantization_config: { quant_method: "awq" } }, "quantization_config"],
    [
      "quantised weights of the decoder",
      { ...top, text_config: { ...text, ...mrope, quantization_config: {} } },
      "quantization_config",
    ],
    ["a sliding window", { ...flat, use_sliding_window: true }, "use_sliding_window"],
    [
      "a sliding window in text_config",
      { ...top, text_config: { ...flat, use_sliding_window: true } },
      "use_sliding_window",
    ],
    ["scaled positions", { ...flat, rope_scaling: { type: "yarn", factor: 4, mrope_section: [1, 1, 2] } }, '"yarn"'],
    [
      "scaled positions of transformers 5",
      { ...flat, rope_parameters: { rope_type: "linear", factor: 2, rope_theta: 1e6, mrope_section: [1, 1, 2] } },
      '"linear"',
    ],
  ])("not supported: %s", (_, json, found) => {
    expect(() => parse(json)).toThrow(
      expect.objectContaining({
        code: "checkpoint_unsupported",
        message: expect.stringMatching(new RegExp(`^somewhere/config.json: .*${found}`)),
      }),
    );
  });
});
