/**
 * @file A checkpoint as other programs want it, out of one in any form that is read: the same tensors, byte for byte, under other names
 * and with the head elsewhere; and an adapter with its base as a checkpoint of its own.
 */

import path from "node:path";
import { bytesOf, storedSource, type TensorSource } from "../../checkpoint/save.ts";
import { VlRewardError } from "../../errors.ts";
import { type JsonObject, without } from "../../files/json.ts";
import { merged } from "../../models/adapter.ts";
import { assertHead, type CheckpointTensors, checkpointTensors } from "../../models/checkpoint-tensors.ts";
import { familyOf, textFolder } from "../../models/families.ts";
import type { Family, HeadPlace } from "../../models/family.ts";
import { type Dtype, scope, toDtype, zeros } from "../../torch/index.ts";
import type { CheckpointForm } from "./checkpoint-forms.ts";
import { assertExportTarget, type CheckpointParts, writeCheckpoint } from "./export.ts";

/** What was written. */
export interface Converted {
  readonly head: HeadPlace;
  readonly tensors: number;
  readonly bytes: number;
  /** What a person should know of how the folder was read. */
  readonly notes: readonly string[];
}

/**
 * Writes `folder` into `target` in another form. Throws `usage` where both are one folder, `checkpoint_unsupported` for a head that the
 * form cannot hold, and what reading and writing throw.
 */
export async function convertCheckpoint(folder: string, target: string, form: CheckpointForm): Promise<Converted> {
  assertExportTarget(folder, target);
  const family = familyOf(folder);
  const checkpoint = checkpointTensors(folder);
  assertHead(checkpoint, folder, family);
  const place = form === "vllm" ? "score" : form === "trl" ? "value_head" : family.headPlace;
  const head = storedHead(checkpoint);
  if (place === "score" && head.has("head.0.weight")) {
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} has a head of two layers, which ${form}'s classes cannot hold; keep it in value_head.safetensors (--to trl).`,
    );
  }
  const nameOf = form === "transformers5" ? family.currentName : (name: string) => name;
  const backbone = backboneSources(checkpoint).map((source) => ({ ...source, name: nameOf(source.name) }));
  const files = configured(family, checkpoint, place, form);
  return written(target, checkpoint, { files, texts: folder, ...placed(backbone, head, place) });
}

/**
 * Writes an adapter, merged into its base, as a checkpoint in the published form: what PEFT's merge_and_unload() gives, in the base's
 * own dtypes, or in one that is asked for. Throws as `convertCheckpoint`.
 */
export async function mergeAdapter(adapter: string, base: string, target: string, dtype?: Dtype): Promise<Converted> {
  for (const folder of [adapter, base]) assertExportTarget(folder, target);
  const family = familyOf(adapter, base);
  const checkpoint = checkpointTensors(adapter, base);
  assertHead(checkpoint, adapter, family);
  const head = storedHead(checkpoint);
  const place =
    family.headPlace === "score" && !head.has("head.0.weight") && !head.has("head.bias") ? "score" : "value_head";
  const files = configured(family, checkpoint, place, "trl", dtype);
  const common = dtypeOf(checkpoint.tensors);
  const isTied = files["config.json"]?.tie_word_embeddings === true; // a copy of the former embedding would be read in its place
  const sources = backboneSources(checkpoint).filter(({ name }) => !(isTied && name === "lm_head.weight"));
  const backbone = sources.map((source) => {
    const update = checkpoint.updates.get(source.name);
    const isAdapters =
      path.dirname(path.resolve(checkpoint.tensors.get(source.name)?.file ?? "")) === path.resolve(adapter);
    const stored = dtype ?? (isAdapters ? common : source.dtype); // peft trains copies of whole modules in float32
    if (update === undefined) return { ...source, dtype: stored };
    return { ...source, dtype: stored, read: () => merged(toDtype(source.read(), stored), update) };
  });
  return written(target, checkpoint, { files, texts: textFolder(adapter, base), ...placed(backbone, head, place) });
}

/** All but the head, with what no reward reads as it is: what comes back from another form is whole. */
function backboneSources({ tensors, strange }: CheckpointTensors): TensorSource[] {
  const own = [...tensors].filter(([name]) => !name.startsWith("head.") && !strange.has(name));
  return [...own, ...strange].map(([name, place]) => storedSource(name, place));
}

function storedHead({ tensors }: CheckpointTensors): Map<string, TensorSource> {
  const head = [...tensors].filter(([name]) => name.startsWith("head."));
  return new Map(head.map(([name, place]) => [name, storedSource(name, place)]));
}

/**
 * A bias of 0 says nothing, and comes and goes: value_head.safetensors needs one, a classifier of transformers has none.
 */
function placed(
  backbone: readonly TensorSource[],
  head: ReadonlyMap<string, TensorSource>,
  place: HeadPlace,
): Pick<CheckpointParts, "weights" | "head"> {
  const [weight, bias] = [head.get("head.weight"), head.get("head.bias")];
  if (place === "score") {
    const own = [weight, bias && !isZero(bias) ? bias : undefined].filter((source) => source !== undefined);
    return {
      weights: [...backbone, ...own.map((one) => ({ ...one, name: one.name.replace("head.", "score.") }))],
      head: [],
    };
  }
  const added: TensorSource[] =
    weight && !bias
      ? [{ name: "head.bias", shape: [1], dtype: weight.dtype, read: () => zeros([1], weight.dtype) }]
      : [];
  const own = [...head.values(), ...added].map((one) => ({
    ...one,
    name: one.name.replace("head.", "v_head.summary."),
  }));
  return { weights: backbone, head: own };
}

const isZero = ({ read }: TensorSource): boolean =>
  scope(() => [...read().toFloat32Array()].every((value) => value === 0));

function configured(
  family: Family,
  checkpoint: CheckpointTensors,
  head: HeadPlace,
  form: CheckpointForm,
  dtype = dtypeOf(checkpoint.tensors),
): Readonly<Record<string, JsonObject>> {
  const options = { dtype, storesLanguageHead: checkpoint.languageHead !== undefined, head, limits: {} };
  const files = family.exportedFiles(options);
  const config = files["config.json"] ?? {};
  const [name = ""] = Array.isArray(config.architectures) ? config.architectures.map(String) : [];
  const classifier = name.replace(/For(ConditionalGeneration|CausalLM)$/, "ForSequenceClassification");
  // With problem_type vLLM answers the number itself, not its sigmoid.
  const asClassifier = { ...config, architectures: [classifier], num_labels: 1, problem_type: "regression" };
  const others = head === "score" ? without(config, "problem_type") : without(config, ...classifierKeys);
  return { ...files, "config.json": form === "vllm" ? asClassifier : others };
}

/** What config.json says of a classifier, and of nothing else. */
const classifierKeys = ["num_labels", "problem_type", "id2label", "label2id"];

/** What most of the numbers are stored in. */
function dtypeOf(tensors: CheckpointTensors["tensors"]): Dtype {
  const elements = new Map<Dtype, number>();
  for (const { dtype, shape } of tensors.values()) {
    elements.set(dtype, (elements.get(dtype) ?? 0) + shape.reduce((product, length) => product * length, 1));
  }
  const [[dtype] = ["float32" as const]] = [...elements].sort(([, a], [, b]) => b - a);
  return dtype;
}

async function written(target: string, { notes }: CheckpointTensors, parts: CheckpointParts): Promise<Converted> {
  await writeCheckpoint(target, parts);
  const all = [...parts.weights, ...parts.head];
  const bytes = all.reduce((sum, source) => sum + bytesOf(source), 0);
  return { head: parts.head.length > 0 ? "value_head" : "score", tensors: all.length, bytes, notes };
}
