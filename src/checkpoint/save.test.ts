import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { crc32 } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { tensorSource } from "../../test/tensor-source.ts";
import { type Dtype, liveTensors, mapFile, type Tensor, tensorFrom, toDtype, transpose } from "../torch/index.ts";
import { listTensors } from "./checkpoint.ts";
import { readSafetensorsHeader } from "./safetensors.ts";
import { storedSource, type TensorSource, writeModelFiles, writeSafetensors } from "./save.ts";

const root = path.join(import.meta.dirname, "../..");

let folder: string;
let before: ReturnType<typeof liveTensors>;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-save-"));
  before = liveTensors();
});
afterEach(() => {
  expect(liveTensors()).toEqual(before);
  rmSync(folder, { recursive: true });
});

const source = (name: string, dtype: Dtype, shape: number[], read: () => Tensor): TensorSource => ({
  name,
  dtype,
  shape,
  read,
});
const floats = (name: string, ...values: number[]): TensorSource =>
  source(name, "float32", [values.length], () => tensorFrom(Float32Array.from(values), [values.length]));

/** The elements of a tensor of a file, by the format's description alone. */
function elements(file: string, name: string): Buffer {
  const bytes = readFileSync(file);
  const headerEnd = 8 + Number(bytes.readBigUInt64LE());
  const header: unknown = JSON.parse(bytes.subarray(8, headerEnd).toString());
  const { [name]: entry } = header as Record<string, { data_offsets: [number, number] }>;
  if (!entry) throw new Error(`${name} is not in ${file}`);
  return bytes.subarray(headerEnd + entry.data_offsets[0], headerEnd + entry.data_offsets[1]);
}

describe("writeSafetensors", () => {
  const reference = path.join(root, "test/fixtures/safetensors/reference.safetensors");
  const file = (): string => path.join(folder, "model.safetensors");

  test("gives the bytes of Hugging Face's library", () => {
    const written = writeSafetensors(file(), [
      source("layers.10.bias", "bfloat16", [3], () => tensorFrom(Float32Array.of(0.5, -1.5, 3), [3])),
      source("layers.2.weight", "float32", [2, 3], () =>
        tensorFrom(
          Float32Array.from({ length: 6 }, (_, i) => i / 7),
          [2, 3],
        ),
      ),
      source("count", "int64", [], () => tensorFrom(BigInt64Array.of(2n ** 40n + 1n), [])),
      source('a naïve "name"', "float32", [2, 1], () => tensorFrom(Float32Array.of(1, 2), [2, 1])),
      source("nothing", "float32", [0, 4], () => tensorFrom(new Float32Array(), [0, 4])),
    ]);
    const expected = readFileSync(reference);
    expect(readFileSync(file()).equals(expected)).toBe(true);
    expect(written).toEqual({ bytes: expected.length, crc32: crc32(expected) });
    expect(readdirSync(folder)).toEqual(["model.safetensors"]);
  });

  test("copies the tensors of a file", () => {
    const sources = [...readSafetensorsHeader(reference)].map(([name, place]) =>
      storedSource(name, { ...place, file: reference }),
    );
    writeSafetensors(file(), sources);
    expect(readFileSync(file()).equals(readFileSync(reference))).toBe(true);
  });

  test("a tensor in memory that needs gradients and does not lie in order, in another dtype", () => {
    const leaf = tensorFrom(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]).setRequiresGrad(true);
    const turned = transpose(leaf, 0, 1);
    writeSafetensors(file(), [tensorSource("w", turned), tensorSource("h", turned, "bfloat16")]);
    expect(elements(file(), "w")).toEqual(Buffer.from(Float32Array.of(1, 4, 2, 5, 3, 6).buffer));
    // The upper halves of the float32 bits: 1, 4, 2, 5, 3 and 6 are exact in bfloat16.
    expect(elements(file(), "h")).toEqual(
      Buffer.from(Uint16Array.of(0x3f80, 0x4080, 0x4000, 0x40a0, 0x4040, 0x40c0).buffer),
    );
    turned.dispose();
    leaf.dispose();
  });

  test("a tensor of several slices, rounded to the nearest", () => {
    const length = 8 * 2 ** 20 + 3; // one slice of bfloat16, two of float32, and a bit
    const values = new Float32Array(length);
    for (let i = 0; i < length; i++) values[i] = i;
    const large = tensorFrom(values, [length]);
    writeSafetensors(file(), [tensorSource("exact", large), tensorSource("rounded", large, "bfloat16")]);
    large.dispose();
    expect(elements(file(), "exact").equals(new Uint8Array(values.buffer))).toBe(true);
    const rounded = elements(file(), "rounded");
    for (const place of [0, 255, 257, 258, 65_537, 2 ** 22 + 2 ** 14, 2 ** 23 - 1, 2 ** 23 + 1, length - 1]) {
      const exponent = Math.max(0, Math.floor(Math.log2(Math.max(1, place))) - 7);
      const below = Math.floor(place / 2 ** exponent);
      const rest = place / 2 ** exponent - below;
      const nearest = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
      const bits = Buffer.alloc(4);
      bits.writeUInt16LE(rounded.readUInt16LE(2 * place), 2);
      expect(bits.readFloatLE()).toBe(nearest * 2 ** exponent);
    }
  });

  test("memory does not grow with the file", () => {
    const name = (index: number): string => `layers.${index}.weight`;
    const shape = [4096, 2048]; // 32 MiB
    let [alive, most] = [0, 0];
    const sources = Array.from({ length: 8 }, (_, index) =>
      source(name(index), "float32", shape, () => {
        alive = liveTensors().bytes - before.bytes;
        most = Math.max(most, alive);
        return tensorFrom(new Float32Array(4096 * 2048).fill(index), shape);
      }),
    );
    writeSafetensors(file(), sources);
    expect(most).toBe(0); // each is read when those before it are gone
    expect(statSync(file()).size).toBeGreaterThan(8 * 2 ** 25);
    expect(elements(file(), name(7)).readFloatLE(2 ** 25 - 4)).toBe(7);
  });

  test.each<[how: string, sources: () => TensorSource[], found: RegExp]>([
    ["two of one name", () => [floats("a", 1), floats("a", 2)], /"a" would be written twice/],
    ["another shape than promised", () => [{ ...floats("a", 1), shape: [2] }], /"a".*\[1\], expected \[2\]/],
  ])("refuses %s; the former file stays", (_, sources, found) => {
    writeFileSync(file(), "former");
    expect(() => writeSafetensors(file(), sources())).toThrow(
      expect.objectContaining({ code: "internal_error", message: expect.stringMatching(found) }),
    );
    expect(readFileSync(file(), "utf8")).toBe("former");
    expect(readdirSync(folder)).toEqual(["model.safetensors"]);
  });

  test("a folder that is not there", () => {
    expect(() => writeSafetensors(path.join(folder, "absent", "m.safetensors"), [floats("a", 1)])).toThrow(
      expect.objectContaining({ code: "output_unwritable", message: expect.stringMatching(/absent.*ENOENT/) }),
    );
  });

  // Every write to this device is answered as a full disk answers.
  test.skipIf(!existsSync("/dev/full"))("a full disk (needs /dev/full)", () => {
    writeFileSync(file(), "former");
    symlinkSync("/dev/full", `${file()}.incomplete`);
    const big = source("a", "float32", [500_000], () => tensorFrom(new Float32Array(500_000), [500_000]));
    expect(() => writeSafetensors(file(), [big])).toThrow(
      expect.objectContaining({
        code: "output_unwritable",
        message: expect.stringMatching(
          /model\.safetensors cannot be written: the disk is full; it needs 2\.0 MB, \d+\.\d MB are free\. Make room/,
        ),
      }),
    );
    expect(readdirSync(folder)).toEqual(["model.safetensors"]);
    expect(readFileSync(file(), "utf8")).toBe("former");
  });

  const built = path.join(root, "dist/checkpoint/save.js");
  // Half of the file is on the disk when the system refuses more.
  test.skipIf(process.platform === "win32")("a limit in the middle (needs a system with ulimit)", () => {
    mkdirSync(path.join(folder, "out"));
    const program = `
      const { writeSafetensors } = await import(${JSON.stringify(pathToFileURL(built).href)});
      const { tensorFrom } = await import(${JSON.stringify(pathToFileURL(path.join(root, "dist/torch/index.js")).href)});
      const read = () => tensorFrom(new Float32Array(2 ** 20), [2 ** 20]);
      const sources = [0, 1, 2, 3].map((i) => ({ name: "w" + i, shape: [2 ** 20], dtype: "float32", read }));
      try {
        writeSafetensors("out/model.safetensors", sources);
      } catch (error) {
        console.log(JSON.stringify({ code: error.code, message: error.message }));
      }`;
    const limited = 'ulimit -f 10000 && exec "$0" --input-type=module -e "$1"'; // blocks of 512 or 1024 bytes
    const { stdout, stderr } = spawnSync("sh", ["-c", limited, process.execPath, program], {
      cwd: folder,
      encoding: "utf8",
    });
    expect(JSON.parse(stdout || JSON.stringify({ stderr }))).toEqual({
      code: "output_unwritable",
      message: expect.stringMatching(/no file of this size; it needs 16\.8 MB/),
    });
    expect(readdirSync(path.join(folder, "out"))).toEqual([]);
  });
});

describe("writeModelFiles", () => {
  const five = ["e", "a", "d", "b", "c"].map((name, index) => floats(name, index, index)); // 8 bytes each

  test("one file up to the limit", () => {
    expect(writeModelFiles(folder, five, 40)).toEqual(["model.safetensors"]);
    expect([...listTensors(folder).keys()].sort()).toEqual(["a", "b", "c", "d", "e"]);
  });

  test("shards and their index above it, in the order given; a tensor that is too large has one of its own", () => {
    const files = writeModelFiles(folder, [...five.slice(0, 3), floats("large", 1, 2, 3, 4, 5), ...five.slice(3)], 17);
    const shard = (number: number): string => `model-0000${number}-of-00004.safetensors`;
    expect(files).toEqual([shard(1), shard(2), shard(3), shard(4), "model.safetensors.index.json"]);
    expect(readdirSync(folder).sort()).toEqual([...files].sort());
    expect(JSON.parse(readFileSync(path.join(folder, "model.safetensors.index.json"), "utf8"))).toEqual({
      metadata: { total_size: 60 },
      weight_map: { e: shard(1), a: shard(1), d: shard(2), large: shard(3), b: shard(4), c: shard(4) },
    });
    const tensors = listTensors(folder);
    expect(tensors.size).toBe(6);
    const place = tensors.get("b");
    if (!place) throw new Error("b is absent");
    const [b] = mapFile(place.file, [place]);
    expect(b?.toFloat32Array()).toEqual(Float32Array.of(3, 3));
    b?.dispose();
  });
});

test("bfloat16 is written as float32 without a change", () => {
  const values = Float32Array.of(1, -0.5, 0.1);
  const tensor = tensorFrom(values, [3]);
  const half = toDtype(tensor, "bfloat16");
  writeSafetensors(path.join(folder, "a.safetensors"), [tensorSource("x", half, "float32")]);
  const back = elements(path.join(folder, "a.safetensors"), "x");
  expect(back.readFloatLE(0)).toBe(1);
  expect(back.readFloatLE(4)).toBe(-0.5);
  expect(back.readFloatLE(8)).toBe(0.10009765625); // 0.1 to eight significant bits
  half.dispose();
  tensor.dispose();
});
