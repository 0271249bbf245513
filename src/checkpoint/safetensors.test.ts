import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOf, type FileEntry, rawSafetensors, safetensors } from "../../test/safetensors-file.ts";
import { mapFile, scope } from "../torch/index.ts";
import { readSafetensorsHeader } from "./safetensors.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-safetensors-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function written(bytes: Uint8Array): string {
  const file = path.join(folder, "model.safetensors");
  writeFileSync(file, bytes);
  return file;
}

/** Reads a file whole: every tensor's shape, dtype and elements. */
function read(bytes: Uint8Array): Record<string, unknown> {
  const file = written(bytes);
  const places = readSafetensorsHeader(file);
  return scope(() => {
    const tensors = mapFile(file, [...places.values()]);
    return Object.fromEntries(
      [...places.keys()].map((name, i) => [name, [tensors[i]?.shape, tensors[i]?.dtype, tensors[i]?.toTypedArray()]]),
    );
  });
}

const entry = (dtype: string, shape: number[], array: ArrayBufferView): FileEntry => ({
  dtype,
  shape,
  bytes: bytesOf(array),
});

// 1.5, -2 and 0.25 in each float format, by their definitions.
const f32 = entry("F32", [3], Float32Array.of(1.5, -2, 0.25));
const bf16 = entry("BF16", [3, 1], Uint16Array.of(0x3fc0, 0xc000, 0x3e80));
const f16 = entry("F16", [1, 3], Uint16Array.of(0x3e00, 0xc000, 0x3400));

describe("a whole file", () => {
  const tensors = { "a.weight": f32, "b.weight": bf16, "c.weight": f16 };
  const expected = {
    "a.weight": [[3], "float32", Float32Array.of(1.5, -2, 0.25)],
    "b.weight": [[3, 1], "bfloat16", Uint16Array.of(0x3fc0, 0xc000, 0x3e80)],
    "c.weight": [[1, 3], "float16", Uint16Array.of(0x3e00, 0xc000, 0x3400)],
  };

  test("floats of every width", () => {
    expect(read(safetensors(tensors))).toEqual(expected);
  });

  test("__metadata__ is no tensor", () => {
    expect(read(safetensors(tensors, 8, { format: "pt" }))).toEqual(expected);
  });

  test.each([1, 2, 3, 5])("a header of a multiple of %d bytes, aligned or not", (alignment) => {
    for (const name of ["a", "ab", "abc", "abcd"]) {
      const file = safetensors({ [name]: f32 }, alignment, { pad: "x".repeat(alignment) });
      expect(read(file)).toEqual({ [name]: [[3], "float32", Float32Array.of(1.5, -2, 0.25)] });
    }
  });

  test("numbers of no dimension, tensors of no element, other dtypes", () => {
    const file = safetensors({
      scalar: entry("F64", [], Float64Array.of(0.1)),
      none: entry("F32", [0, 4], new Float32Array()),
      flags: entry("BOOL", [2], Uint8Array.of(1, 0)),
      counts: entry("I64", [1], BigInt64Array.of(-3n)),
    });
    expect(read(file)).toEqual({
      scalar: [[], "float64", Float64Array.of(0.1)],
      none: [[0, 4], "float32", new Float32Array()],
      flags: [[2], "bool", Uint8Array.of(1, 0)],
      counts: [[1], "int64", BigInt64Array.of(-3n)],
    });
  });

  test("the order of the header need not be that of the bytes", () => {
    const header =
      '{"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}';
    expect(read(rawSafetensors(header, Uint8Array.of(7, 8, 9)))).toEqual({
      b: [[1], "uint8", Uint8Array.of(9)],
      a: [[2], "uint8", Uint8Array.of(7, 8)],
    });
  });
});

describe("a damaged file", () => {
  const whole = safetensors({ a: f32, b: bf16 });
  const placed = (...ranges: [begin: number, end: number][]): Buffer => {
    const tensors = ranges.map(([begin, end], i) => [`t${i}`, { dtype: "U8", shape: [4], data_offsets: [begin, end] }]);
    return rawSafetensors(JSON.stringify(Object.fromEntries(tensors)), new Uint8Array(8));
  };

  test.each<[what: string, bytes: Uint8Array, found: string]>([
    ["is empty", new Uint8Array(), "it has 0 bytes, expected at least 8"],
    ["ends within the header's length", whole.subarray(0, 7), "it has 7 bytes"],
    ["ends within the header", whole.subarray(0, 40), "its header claims"],
    ["ends within its data", whole.subarray(0, -1), '"b" ends at byte'],
    ["claims a header of 2^63 bytes", Buffer.from("0000000000000080", "hex"), "its header claims"],
    ["has a header that is not JSON", rawSafetensors("{'a': 1}"), "its header is not JSON"],
    ["has a list as header", rawSafetensors("[]"), "its header is not an object"],
    ["has a tensor without a dtype", rawSafetensors('{"a":{"shape":[],"data_offsets":[0,0]}}'), "malformed at a.dtype"],
    [
      "has a negative length",
      rawSafetensors('{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}'),
      "malformed at a.shape.0",
    ],
    ["has a range longer than the shape", placed([0, 8]), '"t0" takes 8 bytes, its shape needs 4'],
    ["has a range that runs backwards", placed([4, 0]), '"t0" takes -4 bytes, its shape needs 4'],
    ["has overlapping ranges", placed([0, 4], [2, 6]), '"t1" begins at byte 2 of the data, expected 4'],
    ["has one range twice", placed([0, 4], [0, 4]), '"t1" begins at byte 0 of the data, expected 4'],
    ["has a gap in front", placed([4, 8]), '"t0" begins at byte 4 of the data, expected 0'],
    ["has bytes behind the last tensor", placed([0, 4]), "its tensors take 4 bytes, it has 8 for them"],
  ])("that %s is named", (_, bytes, found) => {
    const file = written(bytes);
    expect(() => readSafetensorsHeader(file)).toThrow(
      expect.objectContaining({ code: "checkpoint_damaged", message: expect.stringContaining(found) }),
    );
    expect(() => readSafetensorsHeader(file)).toThrow(file);
  });

  test("a folder in its place is named", () => {
    expect(() => readSafetensorsHeader(folder)).toThrow(
      expect.objectContaining({ code: "checkpoint_damaged", message: expect.stringContaining(folder) }),
    );
  });
});

test.each(["F8_E4M3", "F8_E5M2", "U16", "U32", "U64", "F4", "toString"])("the dtype %s is not supported", (dtype) => {
  const file = written(safetensors({ w: entry(dtype, [2], Uint8Array.of(1, 2)) }));
  expect(() => readSafetensorsHeader(file)).toThrow(
    expect.objectContaining({
      code: "checkpoint_unsupported",
      message: expect.stringContaining(`stores "w" as ${dtype}`),
    }),
  );
});
