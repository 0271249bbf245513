import { expect, test } from "vitest";
import { Generator, randn, scope, type Tensor, tensorFrom, toDtype } from "../torch/index.ts";
import { Embedding, GELU, Linear, type Module, placement, RMSNorm, SwiGLU } from "./index.ts";

/** Fills a module with random weights; -> them by name, in float64. */
function randomWeights(module: Module, seed: number): (name: string) => Float64Array {
  using generator = new Generator(seed);
  const place = placement("cpu", "float32", "owned");
  const weights = new Map<string, Float64Array>();
  for (const [name, parameter] of module.namedParameters()) {
    const value = randn(parameter.shape, generator);
    weights.set(name, Float64Array.from(value.toFloat32Array()));
    parameter.assign(value, place);
  }
  return (name) => weights.get(name) ?? new Float64Array();
}

/** rows @ weight^T + bias in float64; weight [outputs, inputs] */
function affine(rows: Float64Array[], weight: Float64Array, bias?: Float64Array): Float64Array[] {
  return rows.map((row) =>
    Float64Array.from({ length: weight.length / row.length }, (_, output) =>
      row.reduce((sum, x, i) => sum + x * (weight[output * row.length + i] ?? Number.NaN), bias?.[output] ?? 0),
    ),
  );
}

const width = 24;
const inputs = [0, 1, 2].map((row) =>
  Float64Array.from({ length: width }, (_, i) => Math.fround(Math.sin(row * 31 + i * 7) * 2)),
);
const x = tensorFrom(Float32Array.from(inputs.flatMap((row) => [...row])), [3, width]);

/** The largest difference, relative to the largest expected value. */
function difference(found: Tensor, expected: Float64Array[]): number {
  const values = expected.flatMap((row) => [...row]);
  const actual = found.toFloat32Array();
  expect(actual.length).toBe(values.length);
  const scale = Math.max(...values.map(Math.abs));
  return (
    values.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (actual[i] ?? Number.NaN))), 0) / scale
  );
}

test.each([true, false])("Linear, bias: %s", (bias) => {
  const layer = new Linear(width, 5, { bias });
  const weights = randomWeights(layer, 1);
  const expected = affine(inputs, weights("weight"), bias ? weights("bias") : undefined);
  expect(scope(() => difference(layer.forward(x), expected))).toBeLessThan(1e-6);
});

test("RMSNorm", () => {
  const epsilon = 0.25; // large, to be seen
  const layer = new RMSNorm(width, epsilon);
  const weight = randomWeights(layer, 2)("weight");
  const expected = inputs.map((row) => {
    const mean = row.reduce((sum, value) => sum + value * value, 0) / width;
    return row.map((value, i) => (value / Math.sqrt(mean + epsilon)) * (weight[i] ?? Number.NaN));
  });
  expect(scope(() => difference(layer.forward(x), expected))).toBeLessThan(1e-6);
});

test("RMSNorm takes the mean in float32 whatever the dtype", () => {
  const layer = new RMSNorm(4, 1e-6);
  const place = placement("cpu", "float16", "owned");
  layer.weight.assign(tensorFrom(Float32Array.of(1, 1, 1, 1), [4]), place);
  const value = scope(() => {
    const large = toDtype(tensorFrom(Float32Array.of(300, -300, 300, 300), [1, 4]), "float16"); // 300^2 overflows float16
    return toDtype(layer.forward(large), "float32").toFloat32Array();
  });
  expect([...value]).toEqual([1, -1, 1, 1]);
});

test("GELU is the exact one", () => {
  // The error function by its Maclaurin series.
  const erf = (value: number): number => {
    let [sum, term] = [0, value];
    for (let n = 0; n < 60; n++) {
      sum += term / (2 * n + 1);
      term *= -(value * value) / (n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  };
  const expected = inputs.map((row) => row.map((value) => (value / 2) * (1 + erf(value / Math.SQRT2))));
  const layer = new GELU();
  expect([...layer.namedParameters()]).toEqual([]);
  expect(scope(() => difference(layer.forward(x), expected))).toBeLessThan(1e-6);
});

test.each([true, false])("SwiGLU, bias: %s", (bias) => {
  const layer = new SwiGLU(width, 10, { bias });
  const weights = randomWeights(layer, 3);
  const part = (name: string, rows: Float64Array[]): Float64Array[] =>
    affine(rows, weights(`${name}.weight`), bias ? weights(`${name}.bias`) : undefined);
  const up = part("up_proj", inputs);
  const gated = part("gate_proj", inputs).map((row, i) =>
    row.map((value, j) => (value / (1 + Math.exp(-value))) * (up[i]?.[j] ?? Number.NaN)),
  );
  expect(scope(() => difference(layer.forward(x), part("down_proj", gated)))).toBeLessThan(2e-6);
});

test("Embedding converts the rows that it looks up, not its table", () => {
  const layer = new Embedding(3, 2);
  const table = toDtype(tensorFrom(Float32Array.of(0, 0.5, 1, 1.5, 2, 2.5), [3, 2]), "bfloat16");
  layer.weight.assign(table, placement("cpu", "float32", "mapped"));
  const rows = scope(() => layer.forward(tensorFrom(Int32Array.of(2, 0, 2), [3])).toFloat32Array());
  expect([...rows]).toEqual([2, 2.5, 0, 0.5, 2, 2.5]);
  expect(layer.weight.stored.dtype).toBe("bfloat16");
});
