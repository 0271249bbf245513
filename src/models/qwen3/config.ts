/**
 * @file config.json of a Qwen3 checkpoint, as transformers 4 writes it (`rope_theta`) and as transformers 5 does
 * (`rope_parameters`), flat or under `text_config`, read into one shape. Defaults are those of transformers' Qwen3Config.
 */
import { z } from "zod";
import { VlRewardError } from "../../errors.ts";

const positive = z.int().positive();

const ropeSchema = z.looseObject({
  type: z.string().optional(),
  rope_type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
});

const schema = z.looseObject({
  vocab_size: positive.default(151_936),
  hidden_size: positive.default(4096),
  intermediate_size: positive.default(22_016),
  num_hidden_layers: positive.default(32),
  num_attention_heads: positive.default(32),
  num_key_value_heads: positive.default(32),
  head_dim: positive.default(128),
  hidden_act: z.literal("silu").default("silu"),
  max_position_embeddings: positive.default(32_768),
  rms_norm_eps: z.number().positive().default(1e-6),
  attention_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().nullish(),
  layer_types: z.array(z.string()).nullish(), // transformers 5
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeSchema.nullish(), // transformers 4
  rope_parameters: ropeSchema.nullish(), // transformers 5
  quantization_config: z.unknown().optional(),
});

const topSchema = z.looseObject({
  model_type: z.literal("qwen3"),
  text_config: z.looseObject({}).optional(),
  quantization_config: z.unknown().optional(),
});

export interface Qwen3Config {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  /** Not the width of the model divided by its heads. */
  readonly headWidth: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly ropeTheta: number;
}

/**
 * Reads config.json's value. Throws `config_invalid` for a field that is missing or wrong, `checkpoint_unsupported` for
 * what this implementation does not do: quantised weights, sliding windows, biases in attention, scaled positions (yarn).
 *
 * @param file its path, for messages
 */
export function parseConfig(json: unknown, file: string): Qwen3Config {
  const top = parsed(topSchema, json, file);
  const config = parsed(schema, top.text_config ?? top, file);
  const unsupported = (found: string): VlRewardError =>
    new VlRewardError("checkpoint_unsupported", `${file}: ${found}`);
  if (top.quantization_config ?? config.quantization_config) {
    throw unsupported("the weights are quantised (quantization_config). Use the unquantised checkpoint.");
  }
  if (config.use_sliding_window) {
    throw unsupported(
      "use_sliding_window is true; only full attention is supported. Published checkpoints have false.",
    );
  }
  const otherLayer = config.layer_types?.find((type) => type !== "full_attention");
  if (otherLayer !== undefined) {
    throw unsupported(`layer_types has "${otherLayer}"; only full_attention is supported.`);
  }
  if (config.attention_bias) {
    throw unsupported("attention_bias is true; Qwen3's published checkpoints have no biases in attention.");
  }
  const rope = config.rope_parameters ?? config.rope_scaling;
  const ropeType = rope?.rope_type ?? rope?.type ?? "default";
  if (ropeType !== "default") {
    throw unsupported(`positions are scaled by "${ropeType}"; supported is "default", which does not scale.`);
  }
  if (config.num_attention_heads % config.num_key_value_heads !== 0) {
    throw new VlRewardError(
      "config_invalid",
      `${file}: ${config.num_attention_heads} heads cannot share ${config.num_key_value_heads} key/value heads.`,
    );
  }
  if (config.head_dim % 2 !== 0) {
    throw new VlRewardError("config_invalid", `${file}: head_dim ${config.head_dim} is odd; its halves turn together.`);
  }
  return {
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    keyValueHeads: config.num_key_value_heads,
    headWidth: config.head_dim,
    maxPositions: config.max_position_embeddings,
    normEpsilon: config.rms_norm_eps,
    ropeTheta: rope?.rope_theta ?? config.rope_theta ?? 10_000,
  };
}

function parsed<S extends z.ZodType>(schema: S, json: unknown, file: string): z.infer<S> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new VlRewardError("config_invalid", `${file}: ${issue?.path.join(".") || "the file"}: ${issue?.message}.`);
}
