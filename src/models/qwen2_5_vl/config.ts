/**
 * @file config.json of a Qwen2.5-VL checkpoint, as transformers 4 writes it (text fields at the top) and as transformers 5
 * does (`text_config`, `rope_parameters`), read into one shape. Defaults are those of transformers' configuration classes.
 */
import { z } from "zod";
import { VlRewardError } from "../../errors.ts";

const positive = z.int().positive();

const visionSchema = z.object({
  depth: positive.default(32),
  hidden_size: positive.default(3584),
  hidden_act: z.literal("silu").default("silu"),
  intermediate_size: positive.default(3420),
  num_heads: positive.default(16),
  in_channels: z.literal(3).default(3),
  patch_size: positive.default(14),
  spatial_merge_size: positive.default(2),
  temporal_patch_size: positive.default(2),
  tokens_per_second: z.number().positive().default(4),
  window_size: positive.default(112),
  out_hidden_size: positive.default(3584),
  fullatt_block_indexes: z.array(z.int().nonnegative()).default([7, 15, 23, 31]),
});

const ropeSchema = z.object({
  type: z.string().optional(),
  rope_type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  mrope_section: z.array(positive).length(3).optional(),
});

const textSchema = z.object({
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive,
  hidden_act: z.literal("silu").default("silu"),
  max_position_embeddings: positive.default(32_768),
  rms_norm_eps: z.number().positive().default(1e-5),
  use_sliding_window: z.boolean().nullish(),
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeSchema.nullish(), // transformers 4
  rope_parameters: ropeSchema.nullish(), // transformers 5
});

const topSchema = z.looseObject({
  model_type: z.literal("qwen2_5_vl"),
  text_config: z.looseObject({}).optional(),
  vision_config: visionSchema,
  image_token_id: z.int().nonnegative(),
  video_token_id: z.int().nonnegative(),
  quantization_config: z.unknown().optional(),
});

export interface VisionConfig {
  readonly depth: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly patchSize: number; // pixels a side
  readonly spatialMergeSize: number; // patches a side that become one visual token
  readonly temporalPatchSize: number; // frames
  readonly tokensPerSecond: number;
  readonly windowSize: number; // pixels a side
  readonly outHiddenSize: number;
  /** The blocks whose attention spans a whole frame; the others attend within windows. */
  readonly fullAttentionBlocks: readonly number[];
}

export interface TextConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly ropeTheta: number;
  /** How many frequency pairs turn by time, height and width. */
  readonly mropeSection: readonly [number, number, number];
}

export interface Qwen25VLConfig {
  readonly text: TextConfig;
  readonly vision: VisionConfig;
  readonly imageTokenId: number;
  readonly videoTokenId: number;
}

/**
 * Reads config.json's value. Throws `config_invalid` for a field that is missing or wrong, `checkpoint_unsupported` for
 * what this implementation does not do: quantised weights, sliding windows in the decoder, scaled positions (yarn).
 *
 * @param file its path, for messages
 */
export function parseConfig(json: unknown, file: string): Qwen25VLConfig {
  const top = parsed(topSchema, json, file);
  const unsupported = (found: string): VlRewardError =>
    new VlRewardError("checkpoint_unsupported", `${file}: ${found}`);
  const text = parsed(textSchema, top.text_config ?? top, file);
  if (top.quantization_config ?? top.text_config?.quantization_config) {
    throw unsupported("the weights are quantised (quantization_config). Use the unquantised checkpoint.");
  }
  if (text.use_sliding_window) {
    throw unsupported(
      "use_sliding_window is true; only full attention is supported. Published checkpoints have false.",
    );
  }
  const rope = text.rope_parameters ?? text.rope_scaling;
  const ropeType = rope?.rope_type ?? rope?.type ?? "default";
  if (ropeType !== "default" && ropeType !== "mrope") {
    throw unsupported(
      `positions are scaled by "${ropeType}"; supported are "default" and "mrope", which do not scale.`,
    );
  }
  const vision = top.vision_config;
  const headWidth = text.hidden_size / text.num_attention_heads;
  const section = rope?.mrope_section;
  const invalid = (found: string): VlRewardError => new VlRewardError("config_invalid", `${file}: ${found}.`);
  if (!section) throw invalid("no mrope_section in rope_scaling or rope_parameters");
  const [time = 0, height = 0, width = 0] = section;
  if (2 * (time + height + width) !== headWidth) {
    throw invalid(
      `mrope_section [${section}] adds up to ${time + height + width}, expected half a head, ${headWidth / 2}`,
    );
  }
  if (text.num_attention_heads % text.num_key_value_heads !== 0) {
    throw invalid(`${text.num_attention_heads} heads cannot share ${text.num_key_value_heads} key/value heads`);
  }
  if ((vision.hidden_size / vision.num_heads) % 4 !== 0) {
    throw invalid(`vision heads of ${vision.hidden_size}/${vision.num_heads} cannot be turned by height and width`);
  }
  if (vision.window_size < vision.patch_size * vision.spatial_merge_size) {
    throw invalid(
      `window_size ${vision.window_size} is less than one visual token, ${vision.patch_size * vision.spatial_merge_size}`,
    );
  }
  if (vision.out_hidden_size !== text.hidden_size) {
    throw invalid(`vision out_hidden_size ${vision.out_hidden_size} differs from hidden_size ${text.hidden_size}`);
  }
  return {
    text: {
      vocabSize: text.vocab_size,
      hiddenSize: text.hidden_size,
      intermediateSize: text.intermediate_size,
      layers: text.num_hidden_layers,
      heads: text.num_attention_heads,
      keyValueHeads: text.num_key_value_heads,
      maxPositions: text.max_position_embeddings,
      normEpsilon: text.rms_norm_eps,
      ropeTheta: rope?.rope_theta ?? text.rope_theta ?? 1e6,
      mropeSection: [time, height, width],
    },
    vision: {
      depth: vision.depth,
      hiddenSize: vision.hidden_size,
      intermediateSize: vision.intermediate_size,
      heads: vision.num_heads,
      patchSize: vision.patch_size,
      spatialMergeSize: vision.spatial_merge_size,
      temporalPatchSize: vision.temporal_patch_size,
      tokensPerSecond: vision.tokens_per_second,
      windowSize: vision.window_size,
      outHiddenSize: vision.out_hidden_size,
      fullAttentionBlocks: vision.fullatt_block_indexes,
    },
    imageTokenId: top.image_token_id,
    videoTokenId: top.video_token_id,
  };
}

function parsed<S extends z.ZodType>(schema: S, json: unknown, file: string): z.infer<S> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new VlRewardError("config_invalid", `${file}: ${issue?.path.join(".") || "the file"}: ${issue?.message}.`);
}
