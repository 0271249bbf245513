import { describe, expect, test } from "vitest";
import { tensorFrom, toDtype } from "../torch/index.ts";
import { fromFloat16, toFloat16 } from "./float16.ts";

const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);

/** libtorch's conversion. */
function torchBits(values: Float32Array): Uint16Array {
  const bits = toDtype(tensorFrom(values, [values.length]), "float16").toTypedArray();
  if (bits instanceof Uint16Array) return bits;
  throw new Error("expected the bits of float16");
}

const isNaN16 = (bits: number): boolean => (bits & 0x7fff) > 0x7c00;

describe("float16", () => {
  test("all 65,536 are the numbers that libtorch reads", () => {
    const expected = toDtype(tensorFrom(all, [all.length], "float16"), "float32").toFloat32Array();
    expect(Float32Array.from(all, fromFloat16)).toEqual(expected);
  });

  test("all are themselves again, a NaN some NaN", () => {
    for (const bits of all) {
      const again = toFloat16(fromFloat16(bits));
      if (isNaN16(bits) ? !isNaN16(again) : again !== bits) expect.fail(`${bits} became ${again}`);
    }
  });

  test("half way between two lies the even one, a float32 beside that the nearer one; so says libtorch", () => {
    const values: number[] = [];
    const expected: number[] = [];
    const float = new Float32Array(1);
    const word = new Int32Array(float.buffer);
    for (let lower = 0; lower < 0x7c00; lower++) {
      const next = lower + 1 === 0x7c00 ? 2 ** 16 : fromFloat16(lower + 1); // where infinity stands
      float[0] = (fromFloat16(lower) + next) / 2;
      const middle = word[0] ?? 0;
      for (const [beside, nearest] of [
        [-1, lower],
        [0, lower + (lower % 2)],
        [1, lower + 1],
      ] as const) {
        word[0] = middle + beside;
        values.push(float[0] ?? 0, -(float[0] ?? 0));
        expected.push(nearest, nearest | 0x8000);
      }
    }
    expect(values.map(toFloat16)).toEqual(expected);
    expect([...torchBits(Float32Array.from(values))]).toEqual(expected);
  });

  test.each([
    [65_519.99, 0x7bff],
    [65_520, 0x7c00],
    [1e300, 0x7c00],
    [-Infinity, 0xfc00],
    [2 ** -25, 0],
    [2 ** -25 + 2 ** -60, 1], // a float64 that float32 would round to the tie
    [Number.MIN_VALUE, 0],
    [-0, 0x8000],
  ])("%d is 0x%s", (value, bits) => {
    expect(toFloat16(value)).toBe(bits);
  });
});
