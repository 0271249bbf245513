/**
 * @file Writes Qwen2.5-VL reward checkpoints of random weights in a few dozen kilobytes, in every form that they come in.
 * Names and shapes are written down from the published checkpoints' index, not taken from the model.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { type Dtype, Generator, randn, scope, tensorFrom, toDtype } from "../src/torch/index.ts";
import { bytesOf, type FileEntry, safetensors } from "./safetensors-file.ts";

export interface Sizes {
  readonly vocabulary: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly visionHidden: number;
  readonly visionIntermediate: number;
  readonly visionLayers: number;
}

export const smallSizes: Sizes = {
  vocabulary: 40,
  hidden: 16,
  intermediate: 24,
  layers: 2,
  visionHidden: 16,
  visionIntermediate: 20,
  visionLayers: 2,
};

/** Fixed for all sizes: 2 heads, 1 of keys and values, 2 of vision; patches of 4 pixels. */
const [heads, keyValueHeads, visionHeads, patchSize] = [2, 1, 2, 4];

/** The parts of config.json as transformers 4 has them at the top; `textFields` moves into text_config from 4.52 on. */
export function configOf(sizes: Sizes) {
  const pairs = sizes.hidden / heads / 2;
  return {
    top: {
      model_type: "qwen2_5_vl",
      image_token_id: 5,
      video_token_id: 6,
      tie_word_embeddings: false,
      vision_config: {
        depth: sizes.visionLayers,
        hidden_size: sizes.visionHidden,
        intermediate_size: sizes.visionIntermediate,
        num_heads: visionHeads,
        out_hidden_size: sizes.hidden,
        patch_size: patchSize,
        window_size: 16,
        fullatt_block_indexes: [1],
        tokens_per_second: 2,
      },
    },
    textFields: {
      vocab_size: sizes.vocabulary,
      hidden_size: sizes.hidden,
      intermediate_size: sizes.intermediate,
      num_hidden_layers: sizes.layers,
      num_attention_heads: heads,
      num_key_value_heads: keyValueHeads,
      max_position_embeddings: 512,
      rms_norm_eps: 1e-6,
    },
    ropeTheta: 10_000,
    mropeSection: [pairs - 2 * Math.floor(pairs / 3), Math.floor(pairs / 3), Math.floor(pairs / 3)],
  };
}

/** -> the shape of every tensor of the backbone under its published name */
export function backboneShapes(sizes: Sizes): Map<string, readonly number[]> {
  const { hidden, intermediate, visionHidden, visionIntermediate } = sizes;
  const keyValues = (hidden / heads) * keyValueHeads;
  const unit = visionHidden * 4;
  const shapes = new Map<string, readonly number[]>();
  const linear = (name: string, outputs: number, inputs: number, bias: boolean): void => {
    shapes.set(`${name}.weight`, [outputs, inputs]);
    if (bias) shapes.set(`${name}.bias`, [outputs]);
  };
  const swiGlu = (name: string, width: number, inner: number, bias: boolean): void => {
    linear(`${name}.gate_proj`, inner, width, bias);
    linear(`${name}.up_proj`, inner, width, bias);
    linear(`${name}.down_proj`, width, inner, bias);
  };
  shapes.set("model.embed_tokens.weight", [sizes.vocabulary, hidden]);
  for (let i = 0; i < sizes.layers; i++) {
    const layer = `model.layers.${i}`;
    shapes.set(`${layer}.input_layernorm.weight`, [hidden]);
    shapes.set(`${layer}.post_attention_layernorm.weight`, [hidden]);
    linear(`${layer}.self_attn.q_proj`, hidden, hidden, true);
    linear(`${layer}.self_attn.k_proj`, keyValues, hidden, true);
    linear(`${layer}.self_attn.v_proj`, keyValues, hidden, true);
    linear(`${layer}.self_attn.o_proj`, hidden, hidden, false);
    swiGlu(`${layer}.mlp`, hidden, intermediate, false);
  }
  shapes.set("model.norm.weight", [hidden]);
  shapes.set("visual.patch_embed.proj.weight", [visionHidden, 3, 2, patchSize, patchSize]);
  for (let i = 0; i < sizes.visionLayers; i++) {
    const block = `visual.blocks.${i}`;
    shapes.set(`${block}.norm1.weight`, [visionHidden]);
    shapes.set(`${block}.norm2.weight`, [visionHidden]);
    linear(`${block}.attn.qkv`, 3 * visionHidden, visionHidden, true);
    linear(`${block}.attn.proj`, visionHidden, visionHidden, true);
    swiGlu(`${block}.mlp`, visionHidden, visionIntermediate, true);
  }
  shapes.set("visual.merger.ln_q.weight", [visionHidden]);
  linear("visual.merger.mlp.0", unit, unit, true);
  linear("visual.merger.mlp.2", hidden, unit, true);
  return shapes;
}

export interface Weight {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** -> random weights in 64ths between -2 and 2, which float16, bfloat16 and float32 hold alike */
export function randomWeights(shapes: ReadonlyMap<string, readonly number[]>, seed: number): Map<string, Weight> {
  using generator = new Generator(seed);
  return new Map(
    [...shapes].map(([name, shape]) => {
      const values = scope(() => randn(shape, generator).toFloat32Array());
      const rounded = values.map((value) => Math.max(-127, Math.min(127, Math.round(value * 24))) / 64);
      return [name, { shape, values: rounded }];
    }),
  );
}

const formatNames: Partial<Record<Dtype, string>> = { float32: "F32", bfloat16: "BF16", float16: "F16" };

export const stored = ({ shape, values }: Weight, dtype: Dtype): FileEntry => ({
  dtype: formatNames[dtype] ?? dtype,
  shape,
  bytes: scope(() => bytesOf(toDtype(tensorFrom(values, shape), dtype).toTypedArray())),
});

/** Writes weights of one storage dtype into one file of `folder`, or into `shards` files and their index. */
export function writeWeights(
  folder: string,
  weights: ReadonlyMap<string, Weight>,
  { dtype = "float32", shards = 1 }: { dtype?: Dtype; shards?: number } = {},
): void {
  const entries = [...weights].map(([name, weight]) => [name, stored(weight, dtype)] as const);
  const write = (file: string, part: typeof entries): void =>
    writeFileSync(path.join(folder, file), safetensors(Object.fromEntries(part), 64, { format: "pt" }));
  if (shards === 1) {
    write("model.safetensors", entries);
    return;
  }
  const size = Math.ceil(entries.length / shards);
  const weightMap: Record<string, string> = {};
  for (let shard = 0; shard < shards; shard++) {
    const file = `model-${shard + 1}-of-${shards}.safetensors`;
    const part = entries.slice(shard * size, (shard + 1) * size);
    write(file, part);
    for (const [name] of part) weightMap[name] = file;
  }
  writeFileSync(
    path.join(folder, "model.safetensors.index.json"),
    JSON.stringify({ metadata: {}, weight_map: weightMap }),
  );
}
