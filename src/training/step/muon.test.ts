/** @file Muon's steps against their formula, written out in double precision. */
import { expect, test } from "vitest";
import { Parameter, placement } from "../../nn/index.ts";
import { backward, mul, scope, sum, tensorFrom } from "../../torch/index.ts";
import { alone } from "../world.ts";
import { orthogonalized } from "./muon.ts";
import { Optimizer } from "./optimizer.ts";

type Matrix = readonly (readonly number[])[];

const product = (x: Matrix, y: Matrix): number[][] =>
  x.map((row) => (y[0] ?? []).map((_, j) => row.reduce((total, value, k) => total + value * (y[k]?.[j] ?? 0), 0)));
const flipped = (x: Matrix): number[][] => (x[0] ?? []).map((_, j) => x.map((row) => row[j] ?? 0));
const combined = (...terms: readonly (readonly [number, Matrix])[]): number[][] =>
  (terms[0]?.[1] ?? []).map((row, i) =>
    row.map((_, j) => terms.reduce((total, [factor, x]) => total + factor * (x[i]?.[j] ?? 0), 0)),
  );
const rowsOf = (values: ArrayLike<number>, columns: number): number[][] =>
  Array.from({ length: values.length / columns }, (_, i) =>
    Array.from({ length: columns }, (_, j) => values[i * columns + j] ?? 0),
  );

/** Five turns of a x + b (x x') x + c (x x')^2 x from x / |x|, as the method's author publishes it. */
function newtonSchulz(matrix: Matrix): number[][] {
  const norm = Math.sqrt(matrix.flat().reduce((total, value) => total + value ** 2, 0));
  let x = combined([1 / norm, matrix]);
  for (let turn = 0; turn < 5; turn++) {
    const gram = product(x, flipped(x));
    x = combined([3.4445, x], [-4.775, product(gram, x)], [2.0315, product(gram, product(gram, x))]);
  }
  return x;
}

/** Numbers without a pattern that would make a matrix of them singular. */
const noise = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => 3 * Math.sin(1.7 * (i + 1) ** 2 + 78.233 * seed));

test.each([
  [4, 7],
  [7, 4],
  [5, 5],
])("[%i, %i] matrices become nearly orthonormal ones, of AdamW's length", (rows, columns) => {
  const values = [noise(rows * columns, 1), noise(rows * columns, 2)];
  const found = scope(() =>
    orthogonalized(values.map((one) => tensorFrom(Float32Array.from(one), [rows, columns]))).map((x) =>
      rowsOf(x.toFloat32Array(), columns),
    ),
  );
  for (const [index, x] of found.entries()) {
    const scale = 0.2 * Math.sqrt(Math.max(rows, columns));
    const expected = combined([scale, newtonSchulz(rowsOf(values[index] ?? [], columns))]);
    for (const [i, row] of x.entries())
      for (const [j, value] of row.entries()) expect(value).toBeCloseTo(expected[i]?.[j] ?? 0, 4);
    const short = rows > columns ? flipped(x) : x;
    const gram = combined([1 / scale ** 2, product(short, flipped(short))]);
    // The trace is the sum of squared singular values, each of which the method promises near 1.
    const trace = gram.reduce((total, row, i) => total + (row[i] ?? 0), 0);
    expect(Math.abs(trace / gram.length - 1)).toBeLessThan(0.35);
  }
});

test("matrices of layers move by momentum and Nesterov's look ahead; embeddings and vectors as AdamW moves them", () => {
  const made = (values: readonly number[], shape: readonly number[]): Parameter => {
    const parameter = new Parameter(shape);
    parameter.assign(tensorFrom(Float32Array.from(values), shape), placement("cpu", "float32", "owned"));
    parameter.stored.setRequiresGrad(true);
    return parameter;
  };
  const start = noise(12, 3);
  const [matrix, vector, embedding] = [made(start, [3, 4]), made([1, 2], [2]), made(start, [3, 4])];
  const names = {
    "model.layers.0.mlp.w": matrix,
    "model.layers.0.norm": vector,
    "model.embed_tokens.weight": embedding,
  };
  const settings = {
    ...({ type: "muon", momentum: 0.9, weightDecay: 0.1, betas: [0.9, 0.99], eps: 1e-8, maxGradNorm: 0 } as const),
    ...({ decayNormsAndBiases: false, masterWeights: "float32" } as const),
  };
  const optimizer = new Optimizer(new Map(Object.entries(names)), settings, alone("cpu"), (name) =>
    name.includes(".layers."),
  );
  let [weight, momentum]: [Matrix, Matrix] = [rowsOf(start, 4), rowsOf(new Array(12).fill(0), 4)];
  for (const step of [1, 2, 3]) {
    const gradient = noise(12, 10 + step);
    for (const { stored } of [matrix, embedding])
      scope(() => backward(sum(mul(stored, tensorFrom(Float32Array.from(gradient), [3, 4])))));
    scope(() => backward(sum(mul(vector.stored, tensorFrom(Float32Array.of(0.5, -2), [2])))));
    optimizer.step(0.01);
    const now = rowsOf(gradient, 4);
    momentum = combined([0.9, momentum], [0.1, now]);
    const direction = newtonSchulz(combined([0.9, momentum], [0.1, now]));
    weight = combined([1 - 0.01 * 0.1, weight], [-0.01 * 0.2 * 2, direction]);
    const found = rowsOf(
      scope(() => matrix.stored.toFloat32Array()),
      4,
    );
    for (const [i, row] of found.entries())
      for (const [j, value] of row.entries()) expect(value).toBeCloseTo(weight[i]?.[j] ?? 0, 5);
    // A constant gradient moves a weight by the learning rate in AdamW's every step.
    const moved = scope(() => [...vector.stored.toFloat32Array()]);
    expect(moved[0]).toBeCloseTo(1 - 0.01 * step, 5);
    expect(moved[1]).toBeCloseTo(2 + 0.01 * step, 5);
  }
  const apart = scope(() =>
    embedding.stored.toFloat32Array().map((value, i) => Math.abs(value - (matrix.stored.toFloat32Array()[i] ?? 0))),
  );
  expect(Math.max(...apart)).toBeGreaterThan(1e-3);
  expect(optimizer.state().map(({ expAvgSq }) => expAvgSq === undefined)).toEqual([true, false, false]);
  expect(optimizer.bytes).toBe(4 * (12 + 2 * 2 + 2 * 12));
  optimizer.dispose();
});
