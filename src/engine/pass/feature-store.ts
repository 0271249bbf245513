/**
 * @file Picture features on disk (`--feature-cache`), for later runs and for several processes at once. One file per
 * picture, written under a temporary name and renamed: a file is there whole or not at all. What a kill leaves behind is
 * swept at a later start; a file that is not as it was written is removed and its features are computed again. Nothing
 * here ends a run but a folder that cannot be used from the start. The folder grows until its owner empties it.
 *
 * A file: what the features are, as text; then the CRC-32 of all that follows it, the number of tokens and the width, four
 * bytes each, little endian; zeros up to a multiple of 64 bytes; the elements in row-major order.
 */
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import { VlRewardError } from "../../errors.ts";
import { makeFolder } from "../../files/folder.ts";
import { isSystemError } from "../../files/system-error.ts";
import { bytesPerElement, type Tensor, tensorFrom } from "../../torch/index.ts";

/** Part of every file's name: to be raised with any change of the format, or of what the same picture's features are. */
const formatVersion = 1;

/** A temporary file as old as this belongs to nobody: writing one takes seconds. */
const abandonedAfter = 3_600_000; // milliseconds

/** The typed array that holds the elements' bits. */
const arrays = { float32: Float32Array, bfloat16: Uint16Array } as const;

/** What made the features, beside the picture. A store finds only what the same context has made. */
export interface FeatureContext {
  readonly weights: string; // fingerprint of the vision tower
  readonly dtype: keyof typeof arrays; // of the arithmetic and of the features
  readonly arithmetic: string; // whatever else can change a bit: libtorch's version, the kind of processor
}

export interface FeatureStoreStats {
  readonly hits: number;
  readonly misses: number;
  readonly damaged: number; // of the misses: files that were not as they had been written
  readonly failures: number; // reads, writes and removals that the system refused
}

export class FeatureStore {
  readonly #folder: string;
  readonly #temporary: string;
  readonly #context: FeatureContext;
  readonly #stats = { hits: 0, misses: 0, damaged: 0, failures: 0 };

  /** Makes the folder. Throws `output_unwritable` where that, or writing into it, does not work. */
  constructor(folder: string, context: FeatureContext) {
    this.#folder = folder;
    this.#temporary = path.join(folder, "temporary");
    this.#context = context;
    try {
      makeFolder(this.#temporary);
      const probe = this.#temporaryFile();
      writeFileSync(probe, "");
      unlinkSync(probe);
      this.#sweep();
    } catch (cause) {
      if (!isSystemError(cause)) throw cause;
      throw new VlRewardError(
        "output_unwritable",
        `The feature cache ${folder} cannot be used: ${cause.message}. Choose a folder that can be read and written.`,
        { cause },
      );
    }
  }

  get stats(): FeatureStoreStats {
    return { ...this.#stats };
  }

  /** -> the features as `put` got them for this key, to the bit, in the CPU's memory: [visual tokens, hidden]; or undefined. */
  get(key: string): Tensor | undefined {
    const identity = this.#identity(key);
    const file = this.#fileOf(identity);
    const bytes = this.#attempt(() => readFileSync(file));
    const features = bytes && decode(bytes, identity, this.#context.dtype);
    if (features) {
      this.#stats.hits++;
      return features;
    }
    this.#stats.misses++;
    if (bytes) {
      this.#stats.damaged++;
      this.#attempt(() => unlinkSync(file));
    }
    return undefined;
  }

  /** Writes `features` down: [visual tokens, hidden], of the context's dtype, on any device. */
  put(key: string, features: Tensor): void {
    const { dtype } = this.#context;
    if (features.dtype !== dtype || features.shape.length !== 2) {
      const found = `${features.dtype} of shape [${features.shape}]`;
      throw new VlRewardError("internal_error", `Expected ${dtype} features [visual tokens, hidden], got ${found}.`);
    }
    const identity = this.#identity(key);
    const file = this.#fileOf(identity);
    const temporary = this.#temporaryFile();
    const [start, data] = encode(identity, features);
    const written = this.#attempt(() => {
      makeFolder(path.dirname(file));
      const descriptor = openSync(temporary, "wx");
      try {
        writeFileSync(descriptor, start);
        writeFileSync(descriptor, data);
      } finally {
        closeSync(descriptor);
      }
      renameSync(temporary, file);
      return true;
    });
    if (!written) this.#attempt(() => unlinkSync(temporary));
  }

  /** What a file begins with and is named after. */
  #identity(key: string): Buffer {
    const { weights, dtype, arithmetic } = this.#context;
    return Buffer.from(`vl-reward features ${formatVersion}\n${JSON.stringify({ weights, dtype, arithmetic, key })}\n`);
  }

  #fileOf(identity: Buffer): string {
    const digits = createHash("sha256").update(identity).digest("hex");
    return path.join(this.#folder, digits.slice(0, 2), digits.slice(2, 4), digits.slice(4));
  }

  #temporaryFile(): string {
    return path.join(this.#temporary, randomUUID());
  }

  /** Removes what killed processes have left. */
  #sweep(): void {
    const limit = Date.now() - abandonedAfter;
    for (const name of readdirSync(this.#temporary)) {
      const file = path.join(this.#temporary, name);
      this.#attempt(() => {
        if (statSync(file).mtimeMs < limit) unlinkSync(file);
      });
    }
  }

  /** -> what `body` gives, or undefined where the system refuses; that a file is not there is no failure. */
  #attempt<T>(body: () => T): T | undefined {
    try {
      return body();
    } catch (error) {
      if (!isSystemError(error)) throw error;
      if (error.code !== "ENOENT") this.#stats.failures++;
      return undefined;
    }
  }
}

/** -> where the elements lie in a file. */
const dataPlace = (identity: Buffer): number => Math.ceil((identity.length + 12) / 64) * 64;

/** -> a file in two parts, without a copy of the second. */
function encode(identity: Buffer, features: Tensor): [start: Buffer, data: Buffer] {
  const values = features.toTypedArray();
  const data = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const start = Buffer.alloc(dataPlace(identity));
  identity.copy(start);
  start.writeUInt32LE(features.size(0), identity.length + 4);
  start.writeUInt32LE(features.size(1), identity.length + 8);
  start.writeUInt32LE(crc32(data, crc32(start.subarray(identity.length + 4))), identity.length);
  return [start, data];
}

/** -> the features of a file, or undefined where it is another's or not whole. */
function decode(file: Buffer<ArrayBuffer>, identity: Buffer, dtype: FeatureContext["dtype"]): Tensor | undefined {
  const place = dataPlace(identity);
  if (file.length < place || !file.subarray(0, identity.length).equals(identity)) return undefined;
  const shape = [file.readUInt32LE(identity.length + 4), file.readUInt32LE(identity.length + 8)] as const;
  const elements = shape[0] * shape[1];
  if (file.length !== place + elements * bytesPerElement(dtype)) return undefined;
  if (file.readUInt32LE(identity.length) !== crc32(file.subarray(identity.length + 4))) return undefined;
  return tensorFrom(new arrays[dtype](file.buffer, file.byteOffset + place, elements), shape, dtype);
}
