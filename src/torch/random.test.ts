import { describe, expect, test } from "vitest";
import { randn } from "./ops.ts";
import { Generator } from "./random.ts";

/** `torch.randn(length, generator=torch.Generator().manual_seed(seed)).tolist()` of PyTorch 2.6 on x86-64. */
const golden: [seed: number, length: number, first: number[]][] = [
  [0, 5, [1.54099607, -0.293428898, -2.17878938, 0.568431258, -1.08452237]],
  [42, 5, [0.336690366, 0.128809407, 0.234462366, 0.23033303, -1.12285638]],
  [9007199254740991, 5, [1.21976304, -0.392979473, 1.0230751, -0.373421133, -0.0755101964]],
  [
    42,
    20,
    [
      1.92691529, 1.48728406, 0.900717199, -2.10552096, -0.758131146, 1.07831764, 0.800800562, 1.68062055, 0.355859905,
      -0.686622977, -0.493356347, 0.241487786, -0.23162432, 0.041759491, -0.251575291, 0.859858513, -0.309726775,
      -0.395710498, 0.803409338, -0.621595383,
    ],
  ],
];

function draw(generator: Generator, length: number): Float32Array {
  const tensor = randn([length], generator);
  const values = tensor.toFloat32Array();
  tensor.dispose();
  return values;
}

describe("Generator", () => {
  // Sixteen numbers and more are drawn by another, vectorised way.
  test.each(golden)("seed %d, %d numbers: those of PyTorch", (seed, length, expected) => {
    using generator = new Generator(seed);
    const values = draw(generator, length);
    for (const [i, value] of expected.entries()) expect(values[i]).toBeCloseTo(value, 5);
  });

  test("the same seed gives the same numbers, whatever others draw between", () => {
    using first = new Generator(7);
    using second = new Generator(7);
    using other = new Generator(8);
    const values = draw(first, 4);
    expect(draw(other, 4)).not.toEqual(values);
    expect(draw(second, 4)).toEqual(values);
    expect(draw(first, 4)).not.toEqual(values);
  });

  test("dispose twice is once; use after it throws", () => {
    const generator = new Generator(1);
    generator.dispose();
    using next = new Generator(2); // may get the same place
    generator.dispose();
    expect(draw(next, 1)).toHaveLength(1);
    expect(() => randn([1], generator)).toThrow(expect.objectContaining({ code: "use_after_dispose" }));
  });

  test.each([-1, 0.5, Number.NaN, 2 ** 53])("the seed %d is refused", (seed) => {
    expect(() => new Generator(seed)).toThrow(expect.objectContaining({ code: "operator_failed" }));
  });
});
