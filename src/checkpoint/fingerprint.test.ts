/** @file What a fingerprint sees and what it does not. Files are written from the format's description. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOf, type FileEntry, safetensors } from "../../test/safetensors-file.ts";
import type { StoredTensor } from "./checkpoint.ts";
import { fingerprintTensors } from "./fingerprint.ts";
import { readSafetensorsHeader } from "./safetensors.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-fingerprint-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

type Weights = Record<string, FileEntry>;

const all = () => true;

/** Writes each list of tensors into a file and gives all of them by name. */
function stored(...shards: Weights[]): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const [i, shard] of shards.entries()) {
    const file = path.join(folder, `model-${i}.safetensors`);
    writeFileSync(file, safetensors(shard));
    for (const [name, place] of readSafetensorsHeader(file)) tensors.set(name, { ...place, file });
  }
  return tensors;
}

const fingerprint = (...shards: Weights[]): string => fingerprintTensors(stored(...shards), all);

/** Numbers of no pattern. */
function entry(shape: readonly number[], seed: number): FileEntry {
  const length = shape.reduce((a, b) => a * b, 1);
  return {
    dtype: "F32",
    shape,
    bytes: bytesOf(Float32Array.from({ length }, (_, i) => Math.sin(seed + 12.9898 * i))),
  };
}

function flipped(source: FileEntry, byte: number): FileEntry {
  const bytes = Uint8Array.from(source.bytes);
  bytes[byte] = (bytes[byte] ?? 0) ^ 1;
  return { ...source, bytes };
}

const small = entry([100], 1);
const other = entry([100], 2);
const whole = entry([128, 128], 3); // 64 KiB
const large = entry([512, 512], 4); // 1 MiB
const weights: Weights = { small, other, whole, large };

describe("a fingerprint", () => {
  test("is the checksum of version, descriptions and bytes", () => {
    const hash = createHash("sha256")
      .update("vl-reward weights 1\n")
      .update('["b","float32",[100]]\n')
      .update(small.bytes);
    expect(fingerprint({ b: small })).toBe(hash.digest("hex"));
  });

  test("does not depend on the order of names, on shards or on offsets in them", () => {
    const one = fingerprint(weights);
    expect(fingerprint({ large, whole, other, small })).toBe(one);
    expect(fingerprint({ whole }, { large, other }, { small })).toBe(one);
  });

  test("knows only what is selected", () => {
    const select = (name: string) => name !== "other";
    const one = fingerprintTensors(stored(weights), select);
    expect(fingerprintTensors(stored({ ...weights, other: flipped(other, 0) }), select)).toBe(one);
    expect(fingerprintTensors(stored(weights), all)).not.toBe(one);
  });

  const last = (source: FileEntry) => source.bytes.length - 1;
  test.each<[string, Weights]>([
    ["the first bit of a small tensor", { ...weights, small: flipped(small, 0) }],
    ["the last bit of a small tensor", { ...weights, small: flipped(small, last(small)) }],
    ["a bit anywhere in 64 KiB", { ...weights, whole: flipped(whole, 31_001) }],
    ["the last bit of 64 KiB", { ...weights, whole: flipped(whole, last(whole)) }],
    ["the first bit of a large tensor", { ...weights, large: flipped(large, 0) }],
    ["the last bit of a large tensor", { ...weights, large: flipped(large, last(large)) }],
    ["a bit in the second sample", { ...weights, large: flipped(large, Math.floor((2 ** 20 - 4096) / 15)) }],
    ["a name", { small, other, whole, larger: large }],
    ["a shape", { ...weights, small: { ...small, shape: [10, 10] } }],
    ["a dtype", { ...weights, small: { ...small, dtype: "I32" } }],
    ["two tensors in each other's place", { ...weights, small: other, other: small }],
    ["a tensor more", { ...weights, extra: small }],
    ["a tensor less", { small, other, whole }],
  ])("changes with %s", (_, changed) => {
    expect(fingerprint(changed)).not.toBe(fingerprint(weights));
  });

  test("changes with training: every value a little, in every tensor alone", () => {
    const one = fingerprint(weights);
    for (const [name, source] of Object.entries(weights)) {
      const values = new Float32Array(source.bytes.buffer, source.bytes.byteOffset, source.bytes.length / 4);
      const moved = { ...source, bytes: bytesOf(values.map((value) => value * (1 + 1e-6))) };
      expect(fingerprint({ ...weights, [name]: moved }), name).not.toBe(one);
    }
  });

  test("reads a large tensor's samples only", () => {
    expect(fingerprint({ large: flipped(large, 6000) })).toBe(fingerprint({ large })); // between the first two
  });

  test("is refused of nothing, and where a file is gone or short", () => {
    const tensors = stored(weights);
    expect(() => fingerprintTensors(tensors, () => false)).toThrow(expect.objectContaining({ code: "internal_error" }));
    const [first] = tensors.values();
    const file = first?.file ?? "";
    truncateSync(file, 100_000);
    expect(() => fingerprintTensors(tensors, all)).toThrow(
      expect.objectContaining({ code: "checkpoint_damaged", message: expect.stringContaining('ends within "large"') }),
    );
    rmSync(file);
    expect(() => fingerprintTensors(tensors, all)).toThrow(
      expect.objectContaining({ code: "checkpoint_damaged", message: expect.stringContaining(file) }),
    );
  });
});
