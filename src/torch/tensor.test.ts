/** @file Elements in and out, and mapped files. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { TypedArray } from "./native.ts";
import { add, copyInto, narrow, permute, toDtype, transpose, view } from "./ops.ts";
import { bytesPerElement, type Dtype, liveTensors, mapFile, tensorFrom } from "./tensor.ts";

const samples: [Dtype, TypedArray][] = [
  ["float32", Float32Array.of(0, -0, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** -149)],
  ["float64", Float64Array.of(0, -0, Math.PI, Number.NaN, Number.NEGATIVE_INFINITY, Number.MIN_VALUE)],
  ["bfloat16", Uint16Array.of(0, 0x8000, 0x3f80, 0x7fc0, 0xff80, 1)],
  ["float16", Uint16Array.of(0, 0x8000, 0x3c00, 0x7e00, 0xfc00, 1)],
  ["int64", BigInt64Array.of(0n, -1n, 1n, 2n ** 63n - 1n, -(2n ** 63n), 42n)],
  ["int32", Int32Array.of(0, -1, 1, 2 ** 31 - 1, -(2 ** 31), 42)],
  ["int16", Int16Array.of(0, -1, 1, 2 ** 15 - 1, -(2 ** 15), 42)],
  ["int8", Int8Array.of(0, -1, 1, 127, -128, 42)],
  ["uint8", Uint8Array.of(0, 255, 1, 127, 128, 42)],
  ["bool", Uint8Array.of(0, 1, 1, 0, 0, 1)],
];

describe("tensorFrom and toTypedArray", () => {
  test.each(samples)("%s: there and back", (dtype, elements) => {
    const tensor = tensorFrom(elements, [2, 3], dtype);
    expect(tensor.dtype).toBe(dtype);
    expect(tensor.shape).toEqual([2, 3]);
    expect(tensor.device).toBe("cpu");
    expect(tensor.toTypedArray()).toEqual(elements);
    expect(bytesPerElement(dtype)).toBe(elements.BYTES_PER_ELEMENT);
  });

  test.each(samples)("%s: no elements, and one without dimensions", (dtype, elements) => {
    const none = tensorFrom(elements.subarray(0, 0), [2, 0], dtype);
    expect(none.shape).toEqual([2, 0]);
    expect(none.toTypedArray()).toEqual(elements.subarray(0, 0));
    const one = tensorFrom(elements.subarray(5), [], dtype);
    expect(one.shape).toEqual([]);
    expect(one.toTypedArray()).toEqual(elements.subarray(5));
  });

  test("the array's kind gives the dtype", () => {
    expect(tensorFrom(new Float32Array(1), [1]).dtype).toBe("float32");
    expect(tensorFrom(new BigInt64Array(1), [1]).dtype).toBe("int64");
    expect(tensorFrom(new Uint16Array(1), [1]).dtype).toBe("bfloat16");
    expect(tensorFrom(Buffer.of(7), [1]).dtype).toBe("uint8");
  });

  test("a part of an array is read from where it begins", () => {
    const whole = Float32Array.from({ length: 10 }, (_, i) => i);
    expect(tensorFrom(whole.subarray(3, 7), [2, 2]).toTypedArray()).toEqual(Float32Array.of(3, 4, 5, 6));
    const odd = new Uint8Array([9, 8, 7, 6]).subarray(1, 3);
    expect(tensorFrom(odd, [2]).toTypedArray()).toEqual(Uint8Array.of(8, 7));
  });

  test("the tensor has a copy", () => {
    const source = Float32Array.of(1, 2);
    const tensor = tensorFrom(source, [2]);
    source[0] = 100;
    const read = tensor.toFloat32Array();
    read[1] = 100;
    expect(tensor.toFloat32Array()).toEqual(Float32Array.of(1, 2));
  });

  test("elements come in row-major order whatever the strides", () => {
    const table = tensorFrom(Int32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
    expect(transpose(table, 0, 1).toTypedArray()).toEqual(Int32Array.of(1, 4, 2, 5, 3, 6));
    expect(narrow(table, 1, 1, 2).toTypedArray()).toEqual(Int32Array.of(2, 3, 5, 6));
    const cube = view(table, [1, 2, 3]);
    expect(permute(cube, [2, 0, 1]).toTypedArray()).toEqual(Int32Array.of(1, 4, 2, 5, 3, 6));
  });

  test("a tensor that asks for gradients is read as it is", () => {
    const leaf = tensorFrom(Float32Array.of(1), [1]).setRequiresGrad(true);
    expect(add(leaf, leaf).toTypedArray()).toEqual(Float32Array.of(2));
  });

  test.each([
    ["too few elements", () => tensorFrom(new Float32Array(5), [2, 3]), /24 bytes, the array has 20/],
    ["too many elements", () => tensorFrom(new Float32Array(5), []), /4 bytes, the array has 20/],
    ["a negative length", () => tensorFrom(new Float32Array(4), [-2, -2]), /cannot have the length -2/],
    ["half a length", () => tensorFrom(new Float32Array(4), [1.5]), /expected an integer, got the number 1.5/],
    ["a size that wraps around", () => tensorFrom(new Float32Array(0), [2 ** 40, 2 ** 40]), /larger than any memory/],
    ["an array of another dtype", () => tensorFrom(new Float32Array(1), [2], "bfloat16"), /from a Uint16Array/],
    ["no typed array of ours", () => tensorFrom(new Uint32Array(1) as never, [1]), /Expected a typed array/],
    ["a device that is not there", () => tensorFrom(new Float32Array(1), [1], "float32", "moon"), /moon/],
  ])("%s is refused", (_, make, message) => {
    const before = liveTensors().handles;
    expect(make).toThrow(expect.objectContaining({ code: "operator_failed", message: expect.stringMatching(message) }));
    expect(liveTensors().handles).toBe(before);
  });

  test("toFloat32Array reads float32 only", () => {
    expect(() => tensorFrom(new Float64Array(1), [1]).toFloat32Array()).toThrow("Expected a float32 tensor");
  });

  test("size and elements", () => {
    const tensor = tensorFrom(new Float32Array(24), [2, 3, 4]);
    expect([tensor.size(0), tensor.size(-1), tensor.elements]).toEqual([2, 4, 24]);
    expect(() => tensor.size(3)).toThrow("A tensor of shape [2,3,4] has no dimension 3.");
  });

  test("float32 rounds to bfloat16 at the nearest, ties to even", () => {
    const values = Float32Array.of(1, 1.00390625, 1.01171875, -Math.PI, 1e-40, 3.4e38, 65504);
    const words = new Uint32Array(values.buffer);
    const expected = Uint16Array.from(words, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
    expect(toDtype(tensorFrom(values, [values.length]), "bfloat16").toTypedArray()).toEqual(expected);
  });
});

describe("mapFile", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-torch-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** A file of the bytes 0, 1, 2, ... */
  function counting(name: string, length: number): string {
    const file = path.join(folder, name);
    writeFileSync(
      file,
      Uint8Array.from({ length }, (_, i) => i),
    );
    return file;
  }

  /** The element that stands at a byte of such a file. */
  function word(offset: number): number {
    return Buffer.of(offset, offset + 1, offset + 2, offset + 3).readInt32LE();
  }

  test("reads at offsets, aligned or not", () => {
    const file = counting("offsets", 64);
    const [bytes, aligned, odd, last] = mapFile(file, [
      { offset: 0, shape: [2, 2], dtype: "uint8" },
      { offset: 8, shape: [2], dtype: "int32" },
      { offset: 13, shape: [1, 2], dtype: "int32" },
      { offset: 60, shape: [], dtype: "int32" },
    ]);
    expect(bytes?.toTypedArray()).toEqual(Uint8Array.of(0, 1, 2, 3));
    expect(aligned?.toTypedArray()).toEqual(Int32Array.of(word(8), word(12)));
    expect(odd?.toTypedArray()).toEqual(Int32Array.of(word(13), word(17)));
    expect(odd?.shape).toEqual([1, 2]);
    expect(last?.toTypedArray()).toEqual(Int32Array.of(word(60)));
  });

  test("tensors without elements, at the very end and in an empty file", () => {
    const file = counting("end", 8);
    const [none] = mapFile(file, [{ offset: 8, shape: [0, 3], dtype: "float32" }]);
    expect(none?.shape).toEqual([0, 3]);
    expect(mapFile(file, [])).toEqual([]);
    const [nothing] = mapFile(counting("empty", 0), [{ offset: 0, shape: [0], dtype: "float32" }]);
    expect(nothing?.shape).toEqual([0]);
  });

  test.each([
    ["past the end", 61, [1], /4 bytes at 61 lie outside the file's 64/],
    ["beyond the end", 2 ** 50, [0], /lie outside/],
    ["before the beginning", -4, [1], /4 bytes at -4 lie outside/],
    ["a size that wraps around", 0, [2 ** 31, 2 ** 31], /larger than any memory/],
    ["a negative length", 0, [-1], /cannot have the length -1/],
  ])("%s is refused", (_, offset, shape, message) => {
    const before = liveTensors().handles;
    const good = { offset: 0, shape: [1], dtype: "int32" } as const;
    expect(() => mapFile(counting("short", 64), [good, { offset, shape, dtype: "int32" }])).toThrow(
      expect.objectContaining({ code: "operator_failed", message: expect.stringMatching(message) }),
    );
    expect(liveTensors().handles).toBe(before);
  });

  test("a file that is not there, or is a folder", () => {
    expect(() => mapFile(path.join(folder, "absent"), [])).toThrow(/cannot open .*absent: No such file/);
    expect(() => mapFile(folder, [{ offset: 0, shape: [1], dtype: "uint8" }])).toThrow(/cannot map/);
  });

  test("writing to a mapped tensor does not change the file", () => {
    const file = counting("private", 8);
    const [mapped] = mapFile(file, [{ offset: 0, shape: [2], dtype: "int32" }]);
    if (!mapped) throw new Error("no tensor");
    copyInto(mapped, tensorFrom(Int32Array.of(-1, -2), [2]));
    expect(mapped.toTypedArray()).toEqual(Int32Array.of(-1, -2));
    expect([...readFileSync(file)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test.skipIf(process.platform !== "linux")(
    "the mapping lives as long as a tensor over it (needs Linux, which tells it)",
    () => {
      const file = counting("alive", 8192);
      const isMapped = () => readFileSync("/proc/self/maps", "utf8").includes(file);
      const [first, second] = mapFile(file, [
        { offset: 0, shape: [4], dtype: "uint8" },
        { offset: 4096, shape: [4], dtype: "int32" },
      ]);
      expect(isMapped()).toBe(true);
      rmSync(file); // an open mapping keeps the bytes
      first?.dispose();
      if (!second) throw new Error("no tensor");
      const part = narrow(second, 0, 1, 2);
      second.dispose();
      expect(isMapped()).toBe(true);
      expect(part.toTypedArray()).toEqual(Int32Array.of(word(4 % 256), word(8)));
      part.dispose();
      expect(isMapped()).toBe(false);
    },
  );

  test("liveTensors counts a mapped part once, however many views it has", () => {
    const before = liveTensors();
    const [mapped] = mapFile(counting("count", 4096), [{ offset: 0, shape: [1024], dtype: "float32" }]);
    if (!mapped) throw new Error("no tensor");
    const parts = [narrow(mapped, 0, 0, 10), narrow(mapped, 0, 10, 10)];
    expect(liveTensors()).toEqual({ handles: before.handles + 3, bytes: before.bytes + 4096 });
    for (const tensor of [mapped, ...parts]) tensor.dispose();
    expect(liveTensors()).toEqual(before);
  });
});
