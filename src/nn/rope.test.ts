import { describe, expect, test } from "vitest";
import golden from "../../test/fixtures/model/frequencies.json" with { type: "json" };
import { Generator, randn, scope, type Tensor } from "../torch/index.ts";
import { inverseFrequencies, rotate, rotation } from "./index.ts";

test.each(golden)(
  "inverse frequencies have the bits of torch 2.6: width $width, theta $theta",
  ({ width, theta, bits }) => {
    expect([...new Uint32Array(inverseFrequencies(width, theta).buffer)]).toEqual(bits);
  },
);

const half = 4;
const width = 2 * half;
const heads = 2;

function random(tokens: number, seed: number): Tensor {
  using generator = new Generator(seed);
  return randn([tokens, heads, width], generator);
}

/** x [tokens, heads, width] turned by angles [tokens, half], read as rows of one token and head. */
function turned(x: Tensor, angles: readonly number[]): Float32Array[] {
  const values = scope(() => rotate(x, rotation(Float32Array.from(angles), half, "float32", "cpu")).toFloat32Array());
  return Array.from({ length: values.length / width }, (_, row) => values.slice(row * width, (row + 1) * width));
}

const dot = (a: Float32Array = new Float32Array(), b: Float32Array = new Float32Array()): number =>
  a.reduce((sum, value, i) => sum + value * (b[i] ?? Number.NaN), 0);

describe("rotate", () => {
  const angles = Array.from({ length: 3 * half }, (_, i) => Math.fround(1.7 * i - 5));

  test("turns the pairs (i, i + half), in every head of a token alike", () => {
    const x = random(3, 1);
    const values = x.toFloat32Array();
    for (const [row, found] of turned(x, angles).entries()) {
      for (let i = 0; i < half; i++) {
        const angle = angles[Math.floor(row / heads) * half + i] ?? Number.NaN;
        const [a = 0, b = 0] = [values[row * width + i], values[row * width + half + i]];
        expect(found[i]).toBeCloseTo(a * Math.cos(angle) - b * Math.sin(angle), 5);
        expect(found[half + i]).toBeCloseTo(b * Math.cos(angle) + a * Math.sin(angle), 5);
      }
    }
  });

  test("keeps lengths", () => {
    const x = random(3, 2);
    const before = turned(x, new Array<number>(3 * half).fill(0));
    const after = turned(x, angles);
    expect(before.flatMap((row) => [...row])).toEqual([...x.toFloat32Array()]);
    for (const [i, row] of after.entries()) expect(dot(row, row)).toBeCloseTo(dot(before[i], before[i]), 4);
  });

  test("products of turned vectors depend on the difference of positions alone", () => {
    const frequencies = inverseFrequencies(width, 100);
    const at = (position: number): number[] => [...frequencies].map((frequency) => position * frequency);
    const query = random(1, 3);
    const key = random(1, 4);
    const product = (a: number, b: number): number => dot(turned(query, at(a))[0], turned(key, at(b))[0]);
    for (const shift of [1, 17, 250]) expect(product(5 + shift, 2 + shift)).toBeCloseTo(product(5, 2), 4);
    expect(Math.abs(product(6, 2) - product(5, 2))).toBeGreaterThan(0.01);
  });

  test("cosines and sines come in the dtype that is asked for", () => {
    scope(() => {
      const { cos, sin } = rotation(new Float32Array(3 * half), half, "bfloat16", "cpu");
      expect([cos.dtype, sin.dtype]).toEqual(["bfloat16", "bfloat16"]);
      expect([cos.shape, sin.shape]).toEqual([
        [3, 1, width],
        [3, 1, width],
      ]);
    });
  });
});
