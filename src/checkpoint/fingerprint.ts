/**
 * @file A fingerprint of weights, for the keys of what they computed. Large tensors are sampled, so that the vision tower
 * of a 7B checkpoint takes a few thousand small reads: training, merging, quantising and converting change values
 * everywhere and are seen; an edit of single values between the samples is not.
 */
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { VlRewardError } from "../errors.ts";
import { bytesPerElement } from "../torch/index.ts";
import type { StoredTensor } from "./checkpoint.ts";

/** Part of every fingerprint: to be raised with any change of what is hashed. */
const formatVersion = 1;

const blockBytes = 4096;
const blocks = 16;

/**
 * -> SHA-256 as hex digits, over the names, dtypes, shapes and bytes of the selected tensors: up to 64 KiB of each whole,
 * of larger ones 16 blocks at even distances, the first and the last included. It does not depend on the files that the
 * tensors lie in or on the order of the map. Throws `checkpoint_damaged` where a file cannot be read.
 *
 * @param tensors by the names that the model gives them, so that old and new spellings agree
 */
export function fingerprintTensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  select: (name: string) => boolean,
): string {
  const selected = [...tensors].filter(([name]) => select(name)).sort(([a], [b]) => (a < b ? -1 : 1));
  if (selected.length === 0) {
    throw new VlRewardError(
      "internal_error",
      `A fingerprint of no weights: none of ${tensors.size} names was selected.`,
    );
  }
  const hash = createHash("sha256").update(`vl-reward weights ${formatVersion}\n`);
  const block = Buffer.alloc(blockBytes);
  const files = new Map<string, number>();
  try {
    for (const [name, place] of selected) {
      const { file, offset, dtype, shape } = place;
      hash.update(`${JSON.stringify([name, dtype, shape])}\n`);
      const descriptor = files.get(file) ?? openSync(file, "r");
      files.set(file, descriptor);
      for (const { begin, length } of samples(shape.reduce((a, b) => a * b, bytesPerElement(dtype)))) {
        if (readSync(descriptor, block, 0, length, offset + begin) < length) {
          throw new VlRewardError("checkpoint_damaged", `${file} ends within "${name}". Download it again.`);
        }
        hash.update(block.subarray(0, length));
      }
    }
  } catch (cause) {
    if (!(cause instanceof Error && "syscall" in cause)) throw cause;
    throw new VlRewardError("checkpoint_damaged", `The weights cannot be read: ${cause.message}.`, { cause });
  } finally {
    for (const descriptor of files.values()) closeSync(descriptor);
  }
  return hash.digest("hex");
}

/** The parts of a tensor of so many bytes that are read, in order. */
function* samples(bytes: number): Generator<{ begin: number; length: number }> {
  if (bytes <= blocks * blockBytes) {
    for (let begin = 0; begin < bytes; begin += blockBytes) {
      yield { begin, length: Math.min(blockBytes, bytes - begin) };
    }
    return;
  }
  for (let i = 0; i < blocks; i++) {
    yield { begin: Math.floor((i * (bytes - blockBytes)) / (blocks - 1)), length: blockBytes };
  }
}
