/**
 * @file Adapter files in PEFT's format (0.15, for transformers 4.51.3): adapter_config.json and adapter_model.safetensors
 * with the low-rank updates and the other backbone weights that were trained; the reward head stands beside them in
 * value_head.safetensors, which PEFT does not read.
 */

import { rmSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { fillSlots, type StoredTensor } from "../../checkpoint/checkpoint.ts";
import { readSafetensorsHeader } from "../../checkpoint/safetensors.ts";
import { type TensorSource, writeSafetensors } from "../../checkpoint/save.ts";
import { VlRewardError } from "../../errors.ts";
import { writeTextDurably, writing } from "../../files/durable-file.ts";
import { makeFolder } from "../../files/folder.ts";
import { readJson } from "../../files/json.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import { attachLora, type LoraOptions, namedLinears, type Placement } from "../../nn/index.ts";
import { updateName } from "../step/trainable.ts";
import { headSources } from "./export.ts";

const [configFile, weightFile, headFile] = [
  "adapter_config.json",
  "adapter_model.safetensors",
  "value_head.safetensors",
];

/** PEFT wraps the model in two modules of its own, whose names come first. */
const prefix = "base_model.model.";

export interface AdapterTask {
  readonly folder: string;
  /** The model that the adapter belongs to: a folder or hub id. */
  readonly base: string;
  readonly options: LoraOptions;
  /** What training changed, by the names of the model's parameters: updates, head and what else; read in their order. */
  readonly trained: Iterable<TensorSource>;
}

/** Writes the three files into `folder`, the config last. Throws `output_unwritable`. */
export function writeAdapter({ folder, base, options, trained }: AdapterTask): void {
  const sources = new Map([...trained].map((source) => [source.name, source]));
  const targets = new Set<string>();
  const whole = new Set<string>();
  const weights: TensorSource[] = [];
  for (const source of sources.values()) {
    if (source.name.startsWith("head.")) continue;
    const [, layer, matrix] = updateName.exec(source.name) ?? [];
    if (layer !== undefined && matrix !== undefined) {
      targets.add(layer);
      weights.push({ ...source, name: `${prefix}${layer}.lora_${matrix.toUpperCase()}.weight` });
    } else {
      whole.add(source.name.replace(/\.(weight|bias)$/, ""));
      weights.push({ ...source, name: prefix + source.name });
    }
  }
  writing(folder, () => {
    makeFolder(folder);
    rmSync(path.join(folder, configFile), { force: true });
  });
  if ([...sources.keys()].some((name) => name.startsWith("head."))) {
    writeSafetensors(path.join(folder, headFile), headSources(sources));
  }
  writeSafetensors(path.join(folder, weightFile), weights);
  const config = {
    peft_type: "LORA",
    task_type: null,
    base_model_name_or_path: base,
    r: options.rank,
    lora_alpha: options.alpha,
    lora_dropout: options.dropout,
    // Whole names: a bare "gate_proj" would mean the vision tower's, too.
    target_modules: [...targets],
    modules_to_save: whole.size > 0 ? [...whole] : null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
  };
  writeTextDurably(path.join(folder, configFile), `${JSON.stringify(config, null, 2)}\n`);
}

const empty = z.union([z.record(z.string(), z.never()), z.null()]).optional();
const off = z.union([z.literal(false), z.null()]).optional();

/** What changes the arithmetic has to be absent, or is refused by name. */
const configSchema = z.object({
  peft_type: z.literal("LORA"),
  r: z.int().positive(),
  lora_alpha: z.number(),
  lora_dropout: z.number().default(0),
  bias: z.literal("none").default("none"),
  fan_in_fan_out: off,
  use_rslora: off,
  use_dora: off,
  lora_bias: off,
  rank_pattern: empty,
  alpha_pattern: empty,
  layer_replication: z.null().optional(),
  trainable_token_indices: z.null().optional(),
});

/**
 * Gives a model the updates, weights and head of an adapter's folder. Throws `config_invalid` or `checkpoint_unsupported`
 * for other kinds of adapters, `checkpoint_mismatch` for one of another model, `checkpoint_damaged`.
 */
export function loadAdapter(model: RewardModel, folder: string, place: Placement): void {
  const options = readConfig(path.join(folder, configFile));
  const tensors = new Map<string, StoredTensor>();
  const add = (file: string, rename: (name: string) => string): void => {
    for (const [name, tensor] of readSafetensorsHeader(file)) tensors.set(rename(name), { ...tensor, file });
  };
  add(path.join(folder, weightFile), (name) =>
    name.replace(prefix, "").replace(/\.lora_([AB])\.weight$/, (_, matrix: string) => `.lora.${matrix.toLowerCase()}`),
  );
  add(path.join(folder, headFile), (name) => name.replace("v_head.summary.", "head."));
  const layers = [...namedLinears(model.backbone)].filter(([name]) => tensors.has(`${name}.lora.a`));
  attachLora(
    layers.map(([, layer]) => layer),
    options,
  );
  const slots = new Map([...model.namedParameters()].filter(([name]) => tensors.has(name)));
  fillSlots(slots, tensors, (slot, tensor) => slot.assign(tensor, place));
}

function readConfig(file: string): LoraOptions {
  const { data, error } = configSchema.safeParse(readJson(file));
  if (data) return { rank: data.r, alpha: data.lora_alpha, dropout: data.lora_dropout };
  const issue = error.issues[0];
  throw new VlRewardError(
    "checkpoint_unsupported",
    `${file}: ${issue?.path.join(".") || "the file"}: ${issue?.message}. Supported are plain LoRA adapters of PEFT.`,
  );
}
