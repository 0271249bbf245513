/** @file A checkpoint folder: its config, its tensors by name over one or several files, and the strict fill of a model. */
import { existsSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { readJson } from "../files/json.ts";
import { type FileTensor, mapFile, scope, type Tensor } from "../torch/index.ts";
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

/** Which shard holds each tensor. */
type WeightMap = z.infer<typeof indexSchema>["weight_map"];

/**
 * -> every tensor of the folder by its stored name: model.safetensors, or the shards that
 * model.safetensors.index.json lists, and value_head.safetensors where there is one. Throws `checkpoint_damaged` where
 * a shard or a tensor that the index promises is absent, `checkpoint_unsupported` for an adapter or other formats.
 */
export function listTensors(folder: string): Map<string, StoredTensor> {
  const indexFile = path.join(folder, "model.safetensors.index.json");
  const weightMap = existsSync(indexFile) ? readIndex(indexFile) : undefined;
  const files = weightMap ? shards(folder, indexFile, weightMap) : [singleFile(folder)];
  const tensors = new Map<string, StoredTensor>();
  for (const name of new Set([...files, "value_head.safetensors"])) {
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
  if (weightMap) assertPromised(weightMap, tensors, folder);
  return tensors;
}

function singleFile(folder: string): string {
  if (existsSync(path.join(folder, "model.safetensors"))) return "model.safetensors";
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

function readIndex(indexFile: string): WeightMap {
  const parsed = indexSchema.safeParse(readJson(indexFile));
  if (!parsed.success) throw new VlRewardError("config_invalid", `${indexFile} has no readable weight_map.`);
  return parsed.data.weight_map;
}

function shards(folder: string, indexFile: string, weightMap: WeightMap): string[] {
  const files = [...new Set(Object.values(weightMap))].sort();
  const others = files.filter((file) => !/^[^/\\]+\.safetensors$/.test(file));
  if (others.length > 0) {
    throw new VlRewardError(
      "config_invalid",
      `${indexFile} names what are no safetensors files of its folder: ${others.join(", ")}.`,
    );
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

function assertPromised(weightMap: WeightMap, tensors: ReadonlyMap<string, StoredTensor>, folder: string): void {
  const absent = Object.entries(weightMap).filter(
    ([name, file]) => tensors.get(name)?.file !== path.join(folder, file),
  );
  if (absent.length === 0) return;
  throw new VlRewardError(
    "checkpoint_damaged",
    `${folder}: tensors are not in the shards that the index names: ` +
      `${absent.map(([name, file]) => `${name} (${file})`).join(", ")}. Download it again.`,
  );
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
    // The scope frees what is not taken over when `fill` throws.
    scope(() => {
      const places = entries.map(({ place }) => place);
      for (const [index, tensor] of mapFile(file, places).entries()) {
        const entry = entries[index];
        if (entry) fill(entry.slot, tensor);
      }
    });
  }
}

function assertFits(slots: ReadonlyMap<string, Slot>, tensors: ReadonlyMap<string, StoredTensor>): void {
  const missing = [...slots.keys()].filter((name) => !tensors.has(name));
  const unexpected = [...tensors.keys()].filter((name) => !slots.has(name));
  const misshapen: string[] = [];
  for (const [name, slot] of slots) {
    const found = tensors.get(name);
    if (!found) continue;
    if (found.shape.join() !== slot.shape.join()) {
      misshapen.push(`${name} is [${found.shape.join(", ")}], expected [${slot.shape.join(", ")}]`);
    } else if (!found.dtype.includes("float")) {
      misshapen.push(`${name} is ${found.dtype}, expected floating point numbers`);
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
