/** @file A checkpoint folder: its config, its tensors by name over one or several files, and the strict fill of a model. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { type FileTensor, mapFile, type Tensor } from "../torch/index.ts";
import { readSafetensorsHeader } from "./safetensors.ts";

/** A tensor of a checkpoint: where its bytes are. */
export interface StoredTensor extends FileTensor {
  readonly file: string;
}

/** A place that a tensor of a checkpoint fills; a Parameter of src/nn is one. */
export interface Slot {
  readonly shape: readonly number[];
}

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/** Reads a JSON file of a checkpoint. Throws `config_invalid` naming it where it is absent or broken. */
export function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    const reason = cause instanceof SyntaxError ? `it is not JSON: ${cause.message}` : "it cannot be read";
    throw new VlRewardError("config_invalid", `${file}: ${reason}. A checkpoint folder needs this file.`, { cause });
  }
}

/**
 * -> every tensor of the folder by its stored name: model.safetensors, or the shards that
 * model.safetensors.index.json lists, and value_head.safetensors where there is one. Throws `checkpoint_damaged` where
 * a shard or a tensor that the index promises is absent, `checkpoint_unsupported` for an adapter or other formats.
 */
export function listTensors(folder: string): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const name of [...weightFiles(folder), "value_head.safetensors"]) {
    const file = path.join(folder, name);
    if (!existsSync(file)) continue;
    for (const [tensor, place] of readSafetensorsHeader(file)) {
      const other = tensors.get(tensor);
      if (other) {
        throw new VlRewardError("checkpoint_damaged", `"${tensor}" is in both ${other.file} and ${file}.`);
      }
      tensors.set(tensor, { ...place, file });
    }
  }
  return tensors;
}

function weightFiles(folder: string): string[] {
  const index = path.join(folder, "model.safetensors.index.json");
  if (existsSync(index)) return shards(folder, index);
  if (existsSync(path.join(folder, "model.safetensors"))) return ["model.safetensors"];
  if (existsSync(path.join(folder, "adapter_config.json"))) {
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} holds an unmerged adapter (adapter_config.json) and no weights of its own. Merge it into its base model ` +
        "first, for example with peft's merge_and_unload().",
    );
  }
  throw new VlRewardError(
    "checkpoint_damaged",
    `${folder} has neither model.safetensors nor model.safetensors.index.json. ` +
      "Weights in other formats (.bin, .pt, .gguf) have to be converted to safetensors.",
  );
}

function shards(folder: string, indexFile: string): string[] {
  const parsed = indexSchema.safeParse(readJson(indexFile));
  if (!parsed.success) throw new VlRewardError("config_invalid", `${indexFile} has no readable weight_map.`);
  const files = [...new Set(Object.values(parsed.data.weight_map))].sort();
  const outside = files.filter((file) => path.basename(file) !== file);
  if (outside.length > 0) {
    throw new VlRewardError("config_invalid", `${indexFile} names files outside its folder: ${outside.join(", ")}.`);
  }
  const absent = files.filter((file) => !existsSync(path.join(folder, file)));
  if (absent.length > 0) {
    throw new VlRewardError(
      "checkpoint_damaged",
      `${folder} lacks ${absent.length} of ${files.length} shards: ${absent.join(", ")}. Download it again.`,
    );
  }
  return files;
}

/**
 * Fills every slot with the tensor of its name, file by file. Strict: missing, unexpected and misshapen tensors are all
 * named in one `checkpoint_mismatch`, before anything is loaded.
 *
 * @param tensors by the names that the slots have
 * @param fill takes each tensor over, once
 */
export function fillSlots<S extends Slot>(
  slots: ReadonlyMap<string, S>,
  tensors: ReadonlyMap<string, StoredTensor>,
  fill: (slot: S, tensor: Tensor) => void,
): void {
  assertFits(slots, tensors);
  const files = new Map<string, { slot: S; place: StoredTensor }[]>();
  for (const [name, slot] of slots) {
    const place = tensors.get(name);
    if (!place) continue;
    const entries = files.get(place.file) ?? [];
    entries.push({ slot, place });
    files.set(place.file, entries);
  }
  for (const [file, entries] of files) {
    const mapped = mapFile(
      file,
      entries.map(({ place }) => place),
    );
    for (const [index, { slot }] of entries.entries()) {
      const tensor = mapped[index];
      if (tensor) fill(slot, tensor);
    }
  }
}

function assertFits(slots: ReadonlyMap<string, Slot>, tensors: ReadonlyMap<string, StoredTensor>): void {
  const missing = [...slots.keys()].filter((name) => !tensors.has(name));
  const unexpected = [...tensors.keys()].filter((name) => !slots.has(name));
  const misshapen: string[] = [];
  for (const [name, slot] of slots) {
    const found = tensors.get(name);
    if (found && found.shape.join() !== slot.shape.join()) {
      misshapen.push(`${name} is [${found.shape.join(", ")}], expected [${slot.shape.join(", ")}]`);
    }
  }
  if (missing.length + unexpected.length + misshapen.length === 0) return;
  const lists = [
    missing.length > 0 ? `missing ${missing.length}: ${missing.join(", ")}` : "",
    unexpected.length > 0 ? `unexpected ${unexpected.length}: ${unexpected.join(", ")}` : "",
    misshapen.length > 0 ? `misshapen ${misshapen.length}: ${misshapen.join("; ")}` : "",
  ];
  throw new VlRewardError(
    "checkpoint_mismatch",
    `The checkpoint does not fit its config.json. Tensors ${lists.filter(Boolean).join(". Tensors ")}.`,
  );
}
