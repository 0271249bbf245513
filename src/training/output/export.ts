/**
 * @file The finished checkpoint: a folder that `vl-reward score` and transformers 4.51.3 read, with the published names.
 * Everything is first written beside its place; config.json, without which a folder is no checkpoint, is gone while the
 * files are exchanged and comes last.
 */

import { existsSync, readdirSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { weightFileIn } from "../../checkpoint/checkpoint.ts";
import {
  inFileOrder,
  storedSource,
  type TensorSource,
  writeModelFiles,
  writeSafetensors,
} from "../../checkpoint/save.ts";
import type { PixelLimits } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { incomplete, sync, unwritable, writing } from "../../files/durable-file.ts";
import { makeFolder } from "../../files/folder.ts";
import { checkpointTensors } from "../../models/checkpoint-tensors.ts";
import { familyOf } from "../../models/families.ts";
import type { HeadPlace } from "../../models/family.ts";
import { type Dtype, zeros } from "../../torch/index.ts";
import { copyTextFiles, textFiles } from "./export-files.ts";

export interface ExportTask {
  /** The folder of the checkpoint that training began with; without weights where training drew and trained them all. */
  readonly base: string;
  /** The folder that becomes a checkpoint; other files in it stay. */
  readonly target: string;
  /**
   * What training changed, by the names of the model's parameters, the head's included; the rest comes from the base. They
   * are read in the order of their names, as inFileOrder puts those of one dtype.
   */
  readonly trained: Iterable<TensorSource>;
  /** What the backbone is stored in; the head is always float32. */
  readonly dtype: Dtype;
  /** What training used; the limits of the base where it set none. */
  readonly pixelLimits: PixelLimits;
}

/**
 * -> where the head is stored. Throws `output_unwritable`; `checkpoint_mismatch` for a trained tensor that the base has not, or one that is missing where
 * the base has no weights; what reading the base throws. Where that happens before the files are exchanged, the former content of `target` stands.
 */
export async function exportCheckpoint({ base, target, trained, dtype, pixelLimits }: ExportTask): Promise<HeadPlace> {
  assertExportTarget(base, target);
  const languageHead = weightFileIn(base) !== undefined ? checkpointTensors(base).languageHead : undefined;
  const family = familyOf(base);
  const { backbone, head } = exportedTensors(base, trained);
  const [score] = head.keys();
  const place = family.headPlace === "score" && score === "head.weight" && head.size === 1 ? "score" : "value_head";
  const storesLanguageHead = languageHead !== undefined;
  const files = family.exportedFiles({ dtype, storesLanguageHead, head: place, limits: pixelLimits });
  // Where embeddings are tied, a stored copy of the former ones would be read in place of the trained ones.
  if (languageHead && files["config.json"]?.tie_word_embeddings !== true)
    backbone.push(storedSource("lm_head.weight", languageHead));
  const inWeights = place === "score" ? [...head.values()].map((one) => ({ ...one, name: "score.weight" })) : [];
  const weights = [...backbone.map((source) => ({ ...source, dtype })), ...inWeights];
  await writeCheckpoint(target, { files, texts: base, weights, head: place === "score" ? [] : headSources(head) });
  return place;
}

/** What a checkpoint folder is made of. */
export interface CheckpointParts {
  /** JSON files, by name. */
  readonly files: Readonly<Record<string, unknown>>;
  /** The folder that tokenizer and chat template come from. */
  readonly texts: string;
  /** By their names in the files. */
  readonly weights: readonly TensorSource[];
  /** Of value_head.safetensors, where the head has a file of its own. */
  readonly head: readonly TensorSource[];
}

/**
 * Writes all beside its place, then exchanges the files. Throws `output_unwritable`, and what the parts throw; where that happens before
 * the exchange, the former content of `target` stands.
 */
export async function writeCheckpoint(target: string, { files, texts, weights, head }: CheckpointParts): Promise<void> {
  const stage = path.join(target, `export${incomplete}`);
  try {
    rmSync(stage, { recursive: true, force: true });
    makeFolder(stage);
    for (const [name, json] of Object.entries(files)) {
      writeFileSync(path.join(stage, name), `${JSON.stringify(json, null, 2)}\n`);
    }
    await copyTextFiles(texts, stage);
    if (head.length > 0) writeSafetensors(path.join(stage, "value_head.safetensors"), head);
    writeModelFiles(stage, inFileOrder(weights));
    for (const name of readdirSync(stage)) sync(path.join(stage, name));
  } catch (error) {
    rmSync(stage, { recursive: true, force: true });
    throw unwritable(target, error);
  }
  writing(target, () => exchange(stage, target));
}

/** Throws `usage` where the export would overwrite what it is made from: to be asked before training, too. */
export function assertExportTarget(base: string, target: string): void {
  if (!existsSync(target) || realpathSync(base) !== realpathSync(target)) return;
  throw new VlRewardError(
    "usage",
    `The output ${target} is the folder of the model that it is made from. Choose another output folder.`,
  );
}

/** -> the sources of both kinds of files; the backbone's of the dtype that they have. */
function exportedTensors(base: string, trained: Iterable<TensorSource>) {
  const weighted = weightFileIn(base) !== undefined;
  const sources = new Map(
    weighted ? [...checkpointTensors(base).tensors].map(([name, place]) => [name, storedSource(name, place)]) : [],
  );
  const shapes = weighted ? sources : parameterShapes(base);
  for (const source of trained) {
    const found = shapes.get(source.name)?.shape.join();
    if (found !== source.shape.join() && !(found === undefined && source.name.startsWith("head."))) {
      throw new VlRewardError(
        "checkpoint_mismatch",
        `${base} has "${source.name}" of shape [${found ?? "none"}], training has it of [${source.shape}].`,
      );
    }
    sources.set(source.name, source);
  }
  const missing = [...shapes.keys()].filter((name) => !sources.has(name));
  if (missing.length > 0) {
    throw new VlRewardError(
      "checkpoint_mismatch",
      `${base} has no weights, and training has no ${missing.join(", ")}.`,
    );
  }
  const backbone = [...sources.values()].filter(({ name }) => !name.startsWith("head."));
  return { backbone, head: headOf(sources) };
}

/** -> the backbone's parameters by name, as config.json has them */
function parameterShapes(base: string): ReadonlyMap<string, { readonly shape: readonly number[] }> {
  return new Map(familyOf(base).createBackbone().namedParameters());
}

function headOf(sources: ReadonlyMap<string, TensorSource>): Map<string, TensorSource> {
  const head = new Map([...sources].filter(([name]) => name.startsWith("head.")));
  if (head.size > 0) return head;
  throw new VlRewardError("checkpoint_mismatch", "Neither the base nor training has a reward head.");
}

/**
 * -> what value_head.safetensors holds: in float32, with a bias, which its readers expect, of 0 where the head has none
 *
 * @param sources by the names of the model's parameters
 */
export function headSources(sources: ReadonlyMap<string, TensorSource>): TensorSource[] {
  const head = headOf(sources);
  if (head.has("head.weight") && !head.has("head.bias")) {
    head.set("head.bias", { name: "head.bias", shape: [1], dtype: "float32", read: () => zeros([1], "float32") });
  }
  return ["", "0.", "2."].flatMap((layer) =>
    ["weight", "bias"].flatMap((part) => {
      const source = head.get(`head.${layer}${part}`);
      return source ? [{ ...source, name: `v_head.summary.${layer}${part}`, dtype: "float32" as const }] : [];
    }),
  );
}

const weightFile = /^(model(-\d+-of-\d+)?\.safetensors(\.index\.json)?|value_head\.safetensors)$/;

/** Moves the files of `stage` into `target`, in place of those of a former export. */
function exchange(stage: string, target: string): void {
  const config = "config.json";
  rmSync(path.join(target, config), { force: true });
  sync(target);
  for (const name of readdirSync(target)) {
    if (weightFile.test(name) || textFiles.includes(name)) rmSync(path.join(target, name));
  }
  for (const name of readdirSync(stage)) {
    if (name !== config) renameSync(path.join(stage, name), path.join(target, name));
  }
  sync(target);
  renameSync(path.join(stage, config), path.join(target, config));
  rmSync(stage, { recursive: true });
  sync(target);
}
