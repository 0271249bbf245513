/**
 * @file One pass of a random model and the most memory that it took: one-pass.mjs KIND AMOUNT DTYPE -> {"estimate", "peak"} in
 * bytes. KIND is `pictures`, with AMOUNT patches, or `text`, with AMOUNT tokens.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { activationBytes } from "../../dist/engine/machine/memory.js";
import { unrecorded } from "../../dist/models/backbone.js";
import { parseConfig } from "../../dist/models/qwen2_5_vl/config.js";
import { Qwen25VL } from "../../dist/models/qwen2_5_vl/model.js";
import { PackedAttention } from "../../dist/nn/attention/packed-attention.js";
import { placement } from "../../dist/nn/index.js";
import { Generator, noGrad, randn, scope, toDtype } from "../../dist/torch/index.js";

const [kind, amount, precision] = process.argv.slice(2);
const dtype = precision === "bfloat16" ? "bfloat16" : "float32";
const config = parseConfig(
  {
    model_type: "qwen2_5_vl",
    image_token_id: 1,
    video_token_id: 2,
    vocab_size: 1000,
    hidden_size: 512,
    intermediate_size: 2560,
    num_hidden_layers: 2,
    num_attention_heads: 8,
    num_key_value_heads: 2,
    rope_scaling: { type: "mrope", mrope_section: [8, 12, 12] },
    vision_config: {
      depth: 2,
      hidden_size: 640,
      intermediate_size: 1710,
      num_heads: 8,
      out_hidden_size: 512,
      fullatt_block_indexes: [1],
    },
  },
  "config.json",
);
const generator = new Generator(1);
const model = new Qwen25VL(config);
const place = placement("cpu", dtype, "mapped");
for (const [, parameter] of model.namedParameters()) {
  parameter.assign(toDtype(randn(parameter.shape, generator), dtype), place);
}

/** @param {number} tokens */
const read = (tokens) => {
  const positions = Int32Array.from({ length: 3 * tokens }, (_, i) => i % tokens);
  const stream = { ids: new Int32Array(tokens), positions, visualPlaces: new Int32Array(0) };
  const groups = [{ prefix: { start: 0, length: tokens }, branches: [] }];
  return model.forwardAll(stream, undefined, new PackedAttention(groups, { dtype, device: "cpu" }), unrecorded);
};
/** @param {number} patches */
const see = (patches) => model.visual.forward(randn([patches, 1176], generator), [{ t: 1, h: 20, w: patches / 20 }]);
/** @param {number} size */
const pass = (size) => noGrad(() => scope(() => (kind === "text" ? read(size) : see(size)).toTypedArray()));
/** @param {string} name */
const bytes = (name) =>
  1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(readFileSync("/proc/self/status", "utf8"))?.[1]);

pass(40); // what the libraries take at their first call is no part of a pass, and what it leaves is little of one
const before = bytes("VmRSS");
writeFileSync("/proc/self/clear_refs", "5");
pass(Number(amount));
const peak = bytes("VmHWM") - before;
const [tokens, patches] = kind === "text" ? [Number(amount), 0] : [0, Number(amount)];
console.log(JSON.stringify({ estimate: activationBytes(model.shape, dtype, tokens, patches), peak }));
