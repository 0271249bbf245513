/**
 * @file An adapter as PEFT saves one (to 0.17): low-rank updates of a base model's matrices, with whatever was trained as a
 * whole, the reward head included. Read so that base and adapter give what PEFT's merge_and_unload() gives. What is more than
 * plain LoRA is refused by name.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { readTensorFile, type StoredTensor } from "../checkpoint/checkpoint.ts";
import { VlRewardError } from "../errors.ts";
import { listed, whatLiesIn } from "../files/folder-contents.ts";
import { readJson } from "../files/json.ts";
import {
  add,
  mapFile,
  matmul,
  mulScalar,
  reshape,
  scope,
  type Tensor,
  toDevice,
  toDtype,
  transpose,
} from "../torch/index.ts";
import type { Family } from "./family.ts";
import { nameTensors } from "./stored-names.ts";

/** What is added to a parameter: scaling B A, in its shape. */
export interface Update {
  readonly a: StoredTensor; // [rank, inputs]
  readonly b: StoredTensor; // [outputs, rank]
  readonly scaling: number;
  /** Of an embedding, whose rows are the inputs. */
  readonly transposed: boolean;
}

export interface Adapter {
  /** By the names of the parameters that they change. */
  readonly updates: ReadonlyMap<string, Update>;
  /** What takes the place of the base's, by the names of a RewardModel's parameters. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

const configFile = "adapter_config.json";

const numbers = z.record(z.string(), z.number().positive()).nullish();
const off = z.union([z.literal(false), z.null(), z.tuple([]), z.strictObject({})]).optional();

const configSchema = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.int().positive().default(8),
  lora_alpha: z.number().default(8),
  use_rslora: z.boolean().nullish(),
  rank_pattern: numbers,
  alpha_pattern: numbers,
  // These begin with a base that they change themselves.
  init_lora_weights: z.union([z.boolean(), z.null(), z.enum(["gaussian", "eva", "orthogonal"])]).optional(),
  use_dora: off,
  use_qalora: off,
  use_bdlora: off,
  lora_bias: off,
  layer_replication: off,
  target_parameters: off,
  trainable_token_indices: off,
  alora_invocation_tokens: off,
  arrow_config: off,
});
type AdapterConfig = z.infer<typeof configSchema>;

/**
 * Throws `checkpoint_unsupported` for other adapters than plain LoRA, `checkpoint_mismatch` for one of another model,
 * `checkpoint_damaged`.
 *
 * @param family of the base
 * @param expected the names of the base's parameters
 */
export function readAdapter(folder: string, family: Family, expected: ReadonlySet<string>): Adapter {
  const config = readConfig(path.join(folder, configFile));
  const halves = new Map<string, { a?: StoredTensor; b?: StoredTensor; transposed: boolean }>();
  const whole = new Map<string, StoredTensor>();
  for (const [stored, tensor] of storedTensors(folder)) {
    const name = stored
      .replace(/^base_model\.model\./, "")
      .replace(/\.(modules_to_save(\.default)?|base_layer)(?=\.)/, "");
    const [, layer, embedding, half] = /^(.+)\.lora_(embedding_)?([AB])(?:\.default)?(?:\.weight)?$/.exec(name) ?? [];
    if (/\.original_module\./.test(name)) continue; // the base's, where a whole copy was trained
    if (layer === undefined) {
      whole.set(name, tensor);
      continue;
    }
    const entry = halves.get(layer) ?? { transposed: embedding !== undefined };
    halves.set(layer, { ...entry, [half === "A" ? "a" : "b"]: tensor });
  }
  const updates = new Map<string, Update>();
  const stored = new Map(whole);
  for (const [layer, { a, b, transposed }] of halves) {
    if (!a || !b)
      throw new VlRewardError("checkpoint_damaged", `${folder} has one half of the update of ${layer} alone.`);
    const rank = a.shape[0] ?? 1;
    if (b.shape[1] !== rank) {
      const shapes = [a, b].map(({ shape }) => `[${shape.join(", ")}]`).join(" and ");
      throw new VlRewardError(
        "checkpoint_damaged",
        `${folder}: the two halves of the update of ${layer} are ${shapes}.`,
      );
    }
    updates.set(`${layer}.weight`, { a, b, scaling: scalingOf(config, layer, rank), transposed });
    stored.set(`${layer}.weight`, a);
  }
  const { tensors, storedNames } = nameTensors(stored, family, expected);
  const strange = [...tensors.keys()].filter((name) => !expected.has(name) && !name.startsWith("head."));
  if (strange.length > 0) {
    throw new VlRewardError(
      "checkpoint_mismatch",
      `${folder} holds ${listed(strange, 4)}, which ${strange.length === 1 ? "is" : "are"} neither plain LoRA nor a parameter of ` +
        `its base or a reward head.`,
    );
  }
  const parameterOf = new Map([...storedNames].map(([parameter, name]) => [name, parameter]));
  return {
    updates: new Map([...updates].flatMap(([name, update]) => named(parameterOf.get(name), update))),
    tensors: new Map([...tensors].filter(([name]) => whole.has(storedNames.get(name) ?? ""))),
  };
}

/** What is no parameter of a reward, as the language model's own head, is left out. */
const named = (parameter: string | undefined, update: Update): [string, Update][] =>
  parameter === undefined ? [] : [[parameter, update]];

function readConfig(file: string): AdapterConfig {
  const { data, error } = configSchema.safeParse(readJson(file));
  if (data) return data;
  const [issue] = error.issues;
  throw new VlRewardError(
    "checkpoint_unsupported",
    `${file}: ${issue?.path.join(".") || "the file"}: ${issue?.message}. Supported are plain LoRA adapters of PEFT; merge others ` +
      "with peft's merge_and_unload().",
  );
}

/** Of the adapter itself, and of what TRL and LLaMA-Factory put beside it: the head. */
function* storedTensors(folder: string): Generator<[string, StoredTensor]> {
  const has = (name: string): boolean => existsSync(path.join(folder, name));
  const own = ["adapter_model.safetensors", "adapter_model.bin"].find(has);
  if (own === undefined) {
    throw new VlRewardError("checkpoint_damaged", `${folder} has no adapter_model.safetensors. ${whatLiesIn(folder)}`);
  }
  const head = ["value_head.safetensors", "value_head.bin", "pytorch_model.bin"].find(has);
  for (const name of [own, ...(head === undefined ? [] : [head])]) {
    const file = path.join(folder, name);
    for (const [tensor, place] of readTensorFile(file)) yield [tensor, { ...place, file }];
  }
}

/** As PEFT computes it for a layer: a key of a pattern is its name or the end of it, as a regular expression. */
function scalingOf({ lora_alpha, alpha_pattern, use_rslora }: AdapterConfig, layer: string, rank: number): number {
  const [, alpha] = Object.entries(alpha_pattern ?? {}).find(([key]) => matches(key, layer)) ?? [];
  return (alpha ?? lora_alpha) / (use_rslora ? Math.sqrt(rank) : rank);
}

/** Patterns that could take for ever on a name, and such that PEFT would not read either, are refused. */
function matches(key: string, layer: string): boolean {
  if (layer === key || layer.endsWith(`.${key}`)) return true;
  if (!/[\\^$.*+?()[\]{}|]/.test(key.replaceAll(".", ""))) return false; // names, not patterns
  try {
    if (/\)[*+{]/.test(key) || (key.match(/[*+{]/g)?.length ?? 0) > 3) throw new Error("repetitions");
    return new RegExp(`^(.*\\.)?(${key})$`).test(layer);
  } catch (cause) {
    const cut = JSON.stringify(key.slice(0, 80));
    throw new VlRewardError("checkpoint_unsupported", `alpha_pattern: ${cut} is no pattern of names that is read.`, {
      cause,
    });
  }
}

/** -> the parameter with the update in it, in its own dtype and on its device: the sum is rounded once, as PEFT's is */
export function merged(parameter: Tensor, { a, b, scaling, transposed }: Update): Tensor {
  return scope(() => {
    const [low, high] = [a, b].map((half) => {
      const [mapped] = mapFile(half.file, [half]);
      if (!mapped) throw new VlRewardError("internal_error", "A half of an update was mapped and is not there.");
      return reshape(toDevice(mapped, parameter.device, "float32"), [half.shape[0] ?? 1, -1]);
    }) as [Tensor, Tensor];
    const product = mulScalar(matmul(high, low), scaling);
    const delta = reshape(transposed ? transpose(product, 0, 1) : product, parameter.shape);
    return toDtype(add(toDtype(parameter, "float32"), delta), parameter.dtype);
  });
}
