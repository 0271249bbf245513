/** @file A checkpoint folder: its config, its tensors by name over one or several files, and the strict fill of a model. */
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { listed, whatLiesIn } from "../files/folder-contents.ts";
import { readJson } from "../files/json.ts";
import { type FileTensor, mapFile, scope, type Tensor } from "../torch/index.ts";
import { readSafetensorsHeader } from "./safetensors.ts";
import { readTorchFile } from "./torch-file.ts";

/** A tensor of a checkpoint: where its bytes are. */
export interface StoredTensor extends FileTensor {
  readonly file: string;
}

/** A place that a tensor of a checkpoint fills; a Parameter of src/nn is one. */
export interface Slot {
  readonly shape: readonly number[];
}

/** What a folder has of weights. */
export interface Listing {
  /** The names of the files, whether they are there or an index names them. */
  readonly files: readonly string[];
  /** By their stored names. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Tensors that an index names and no file has, and the file that it names. */
  readonly absent: ReadonlyMap<string, string>;
  /** What a person should know of what was read and what was not. */
  readonly notes: readonly string[];
}

/**
 * -> the tensors of a folder: those of the first of model.safetensors, its shards by their index, pytorch_model.bin and its
 * shards, which is the order in which transformers looks for them; and of value_head.safetensors or value_head.bin, where
 * there is one. Throws `checkpoint_damaged` for files that are not whole, `checkpoint_unsupported` for other formats.
 */
export function listFolder(folder: string): Listing {
  const notes: string[] = [];
  const { files, weightMap } = weightFiles(folder, notes);
  const tensors = new Map<string, StoredTensor>();
  for (const name of new Set([...files, ...headFile(folder)])) {
    const file = path.join(folder, name);
    if (weightMap && !existsSync(file)) continue;
    for (const [tensor, place] of readTensorFile(file)) {
      const other = tensors.get(tensor);
      if (other) {
        throw new VlRewardError("checkpoint_damaged", `"${tensor}" is in both ${other.file} and ${file}.`);
      }
      tensors.set(tensor, { ...place, file });
    }
  }
  const absent = Object.entries(weightMap ?? {}).filter(
    ([name, file]) => tensors.get(name)?.file !== path.join(folder, file),
  );
  return { files, tensors, absent: new Map(absent), notes };
}

/** As listFolder; throws `checkpoint_damaged` where a tensor that an index promises is absent. */
export function listTensors(folder: string): ReadonlyMap<string, StoredTensor> {
  const listing = listFolder(folder);
  assertPresent(listing, folder);
  return listing.tensors;
}

/**
 * Throws `checkpoint_damaged` for tensors that an index promises and no file has.
 *
 * @param isRead those that matter
 */
export function assertPresent(
  { files, absent }: Listing,
  folder: string,
  isRead = (_name: string): boolean => true,
): void {
  const missed = [...absent].filter(([name]) => isRead(name));
  if (missed.length === 0) return;
  const gone = files.filter((file) => !existsSync(path.join(folder, file)));
  throw new VlRewardError(
    "checkpoint_damaged",
    gone.length > 0
      ? `${folder} lacks ${gone.length} of ${files.length} shards: ${listed(gone, 4)}. Download it again.`
      : `${folder}: tensors are not in the shards that the index names: ` +
          `${listed(
            missed.map(([name, file]) => `${name} (${file})`),
            4,
          )}. Download it again.`,
  );
}

/** -> where each tensor of a .safetensors file, or of a file of torch.save, lies in it. Throws as their readers do. */
export const readTensorFile = (file: string): Map<string, FileTensor> =>
  file.endsWith(".safetensors") ? readSafetensorsHeader(file) : readTorchFile(file);

/** A head that has a file of its own. */
const headFile = (folder: string): string[] =>
  ["value_head.safetensors", "value_head.bin"].filter((name) => existsSync(path.join(folder, name))).slice(0, 1);

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/** Which shard holds each tensor. */
type WeightMap = z.infer<typeof indexSchema>["weight_map"];

/** The names of a whole file and of the index of shards, in the order in which they are looked for. */
const layouts = ["model.safetensors", "pytorch_model.bin"].flatMap((name) => [name, `${name}.index.json`]);

/** -> the first file of weights that a folder has under a name that is looked for */
export const weightFileIn = (folder: string): string | undefined =>
  [...layouts, "value_head.safetensors", "value_head.bin"].find((name) => existsSync(path.join(folder, name)));

function weightFiles(folder: string, notes: string[]): { files: string[]; weightMap?: WeightMap } {
  const [first, ...others] = layouts.filter((name) => existsSync(path.join(folder, name)));
  if (first === undefined) throw noWeights(folder);
  if (others.length > 0) {
    notes.push(
      `${folder} has ${[first, ...others].join(", ")}: the weights are those of the first, as in transformers.`,
    );
  }
  if (!first.endsWith(".json")) return { files: [first] };
  const indexFile = path.join(folder, first);
  const weightMap = readIndex(indexFile);
  return { files: shards(indexFile, weightMap), weightMap };
}

function noWeights(folder: string): VlRewardError {
  const lies = whatLiesIn(folder);
  if (existsSync(path.join(folder, "adapter_config.json"))) {
    return new VlRewardError(
      "checkpoint_unsupported",
      `${folder} holds an unmerged adapter (adapter_config.json) and no weights of its own. Merge it into its base model ` +
        "with `vl-reward merge`.",
    );
  }
  const safetensors = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".safetensors")) : [];
  const weights = safetensors.filter((name) => !/^(value_head|adapter_model|optimizer)\b/.test(name));
  const [one, ...more] = weights;
  const neither = `${folder} has neither model.safetensors nor model.safetensors.index.json`;
  if (one !== undefined && more.length === 0) {
    return new VlRewardError(
      "checkpoint_damaged",
      `${neither}, but ${one}. If that is the whole model, name it model.safetensors; else fetch the other files.`,
    );
  }
  if (one !== undefined) {
    return new VlRewardError(
      "checkpoint_damaged",
      `${neither}, but ${weights.length} safetensors files (${listed(weights, 3)}). Fetch the index, which says what is in ` +
        "which of them.",
    );
  }
  return new VlRewardError(
    "checkpoint_damaged",
    `${neither}. ${lies} Weights in other formats (.pt, .gguf) have to be converted to safetensors.`,
  );
}

function readIndex(indexFile: string): WeightMap {
  const parsed = indexSchema.safeParse(readJson(indexFile));
  if (!parsed.success || Object.keys(parsed.data.weight_map).length === 0) {
    throw new VlRewardError("config_invalid", `${indexFile} has no readable weight_map.`);
  }
  return parsed.data.weight_map;
}

function shards(indexFile: string, weightMap: WeightMap): string[] {
  const files = [...new Set(Object.values(weightMap))].sort();
  const ending = indexFile.endsWith("model.bin.index.json") ? /^[^/\\]+\.bin$/ : /^[^/\\]+\.safetensors$/;
  const others = files.filter((file) => !ending.test(file));
  if (others.length > 0) {
    throw new VlRewardError(
      "config_invalid",
      `${indexFile} names what are no weight files of its folder: ${listed(others, 4)}.`,
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
    missing.length > 0 ? `missing ${missing.length}: ${listed(missing, 4)}` : "",
    unexpected.length > 0 ? `unexpected ${unexpected.length}: ${listed(unexpected, 4)}` : "",
    misshapen.length > 0 ? `misshapen ${misshapen.length}: ${listed(misshapen, 4)}` : "",
  ];
  throw new VlRewardError(
    "checkpoint_mismatch",
    `The checkpoint does not fit its config.json. Tensors ${lists.filter(Boolean).join(". Tensors ")}.`,
  );
}
