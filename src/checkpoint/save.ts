/**
 * @file Writes checkpoints: safetensors files from tensors that are read one after the other, a slice at a time, so that
 * memory does not grow with the model. A file appears whole or not at all (durable-file.ts).
 */
import path from "node:path";
import { VlRewardError } from "../errors.ts";
import { type Written, writeDurably, writeTextDurably } from "../files/durable-file.ts";
import {
  bytesPerElement,
  type Dtype,
  mapFile,
  narrow,
  noGrad,
  reshape,
  scope,
  type Tensor,
  toDevice,
} from "../torch/index.ts";
import type { StoredTensor } from "./checkpoint.ts";
import { safetensorsDtypes } from "./safetensors.ts";

/** A tensor that is to be written. */
export interface TensorSource {
  readonly name: string;
  readonly shape: readonly number[];
  /** What it is written as; values of another dtype are converted. */
  readonly dtype: Dtype;
  /** -> its values, on any device. Called once, in a scope: what it makes is freed, a tensor that is kept elsewhere is not. */
  readonly read: () => Tensor;
}

/** A tensor of another checkpoint. */
export const storedSource = (name: string, place: StoredTensor, dtype: Dtype = place.dtype): TensorSource => ({
  name,
  shape: place.shape,
  dtype,
  read: () => mapFile(place.file, [place])[0] ?? absent(name),
});

function absent(name: string): never {
  throw new VlRewardError("internal_error", `"${name}" was mapped and is not there.`);
}

const formatNames = new Map([...safetensorsDtypes].map(([name, dtype]) => [dtype, name]));

/** What is converted and copied at a time. */
const sliceBytes = 16 * 2 ** 20;

/**
 * Writes one safetensors file, with the metadata that transformers asks for. Large elements come first, as in files of
 * the format's own library, so that every tensor lies at a multiple of its element's size. Throws `output_unwritable`.
 */
export function writeSafetensors(file: string, sources: Iterable<TensorSource>): Written {
  const ordered = inFileOrder(sources);
  const header = headerOf(ordered);
  const bytes = ordered.reduce((sum, source) => sum + bytesOf(source), header.byteLength);
  return writeDurably(file, bytes, (append) => {
    append(header);
    noGrad(() => {
      for (const source of ordered) writeTensor(source, append);
    });
  });
}

/** The order in which writeSafetensors reads its sources. */
export function inFileOrder(sources: Iterable<TensorSource>): TensorSource[] {
  return [...sources].sort((a, b) => bytesPerElement(b.dtype) - bytesPerElement(a.dtype) || (a.name < b.name ? -1 : 1));
}

function headerOf(sources: readonly TensorSource[]): Uint8Array {
  const entries = new Map<string, unknown>([["__metadata__", { format: "pt" }]]);
  let begin = 0;
  for (const source of sources) {
    if (entries.has(source.name)) throw new VlRewardError("internal_error", `"${source.name}" would be written twice.`);
    const end = begin + bytesOf(source);
    const { shape } = source;
    entries.set(source.name, { dtype: formatNames.get(source.dtype), shape, data_offsets: [begin, end] });
    begin = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, " ");
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  return header;
}

function writeTensor({ name, shape, dtype, read }: TensorSource, append: (part: Uint8Array) => void): void {
  scope(() => {
    const values = read();
    if (values.shape.join() !== shape.join()) {
      const found = `[${values.shape.join(", ")}], expected [${shape.join(", ")}]`;
      throw new VlRewardError("internal_error", `"${name}" was to be written with the shape ${found}.`);
    }
    const flat = reshape(values, [-1]);
    const step = Math.floor(sliceBytes / bytesPerElement(dtype));
    for (let start = 0; start < flat.elements; start += step) {
      scope(() => {
        const slice = narrow(flat, 0, start, Math.min(step, flat.elements - start));
        const { buffer, byteOffset, byteLength } = toDevice(slice, "cpu", dtype).toTypedArray();
        append(new Uint8Array(buffer, byteOffset, byteLength));
      });
    }
  });
}

/** What its values take in a file. */
export const bytesOf = ({ shape, dtype }: TensorSource): number =>
  shape.reduce((product, length) => product * length, bytesPerElement(dtype));

/** The largest file, in bytes, unless one tensor alone is larger: transformers' default. */
const defaultShardBytes = 5e9;

/**
 * Writes model.safetensors into a folder, or numbered shards and, after them, model.safetensors.index.json where there
 * are more bytes than `shardBytes`. Throws `output_unwritable`.
 *
 * @returns the names of the files, in the order in which they may appear to a reader
 */
export function writeModelFiles(
  folder: string,
  sources: Iterable<TensorSource>,
  shardBytes = defaultShardBytes,
): string[] {
  const shards = inShards(sources, shardBytes);
  if (shards.length === 1) {
    writeSafetensors(path.join(folder, "model.safetensors"), shards[0] ?? []);
    return ["model.safetensors"];
  }
  const weightMap = new Map<string, string>();
  const files: string[] = [];
  let totalSize = 0;
  for (const [index, shard] of shards.entries()) {
    const number = (value: number): string => String(value).padStart(5, "0");
    const file = `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
    writeSafetensors(path.join(folder, file), shard);
    files.push(file);
    for (const source of shard) {
      weightMap.set(source.name, file);
      totalSize += bytesOf(source);
    }
  }
  const index = { metadata: { total_size: totalSize }, weight_map: Object.fromEntries(weightMap) };
  const indexFile = "model.safetensors.index.json";
  writeTextDurably(path.join(folder, indexFile), `${JSON.stringify(index, null, 2)}\n`);
  return [...files, indexFile];
}

/** In the order given, each shard as full as it may be. There is at least one. */
function inShards(sources: Iterable<TensorSource>, shardBytes: number): TensorSource[][] {
  let current: TensorSource[] = [];
  const shards = [current];
  let filled = 0;
  for (const source of sources) {
    const bytes = bytesOf(source);
    if (filled > 0 && filled + bytes > shardBytes) {
      current = [];
      shards.push(current);
      filled = 0;
    }
    current.push(source);
    filled += bytes;
  }
  return shards;
}
