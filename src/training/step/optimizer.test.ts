/** @file AdamW against its formula in double precision; over several processes: test/training. */
import { expect, test } from "vitest";
import { Parameter, placement } from "../../nn/index.ts";
import { backward, type Dtype, mul, scope, sum, type Tensor, tensorFrom, toDtype } from "../../torch/index.ts";
import { alone } from "../world.ts";
import { Optimizer, type OptimizerSettings } from "./optimizer.ts";

const settings: OptimizerSettings = {
  type: "adamw",
  momentum: 0.9,
  weightDecay: 0.1,
  betas: [0.9, 0.99],
  eps: 1e-8,
  maxGradNorm: 1,
  decayNormsAndBiases: false,
  masterWeights: "float32",
};

function parameter(values: readonly number[], shape: readonly number[], dtype: Dtype = "float32"): Parameter {
  const made = new Parameter(shape);
  made.assign(tensorFrom(Float32Array.from(values), shape), placement("cpu", dtype, "owned"));
  made.stored.setRequiresGrad(true);
  return made;
}

const valuesOf = (tensor: Tensor): number[] => scope(() => [...toDtype(tensor, "float32").toFloat32Array()]);

/** Leaves `gradient` in a parameter, as the backward pass of a stream does. */
function addGradient({ stored }: Parameter, gradient: readonly number[]): void {
  scope(() => {
    const slope = toDtype(tensorFrom(Float32Array.from(gradient), stored.shape), stored.dtype);
    backward(sum(mul(stored, slope)));
  });
}

/** One step by the paper's algorithm 2, in double precision. */
function reference(weights: number[], state: { m: number[]; v: number[]; t: number }) {
  return (gradient: readonly number[], rate: number, decay: number): number[] => {
    state.t++;
    return weights.map((_, i) => {
      const g = gradient[i] ?? 0;
      const m = 0.9 * (state.m[i] ?? 0) + 0.1 * g;
      const v = 0.99 * (state.v[i] ?? 0) + 0.01 * g * g;
      [state.m[i], state.v[i]] = [m, v];
      const decayed = (weights[i] ?? 0) * (1 - rate * decay);
      weights[i] = decayed - (rate * m) / (1 - 0.9 ** state.t) / (Math.sqrt(v / (1 - 0.99 ** state.t)) + 1e-8);
      return weights[i] ?? 0;
    });
  };
}

test("matrices decay, vectors do not; the norm is over all; an unused weight is left alone", () => {
  const matrix = parameter([1, -2, 3, 0.5], [2, 2]);
  const vector = parameter([0.3, -0.7], [2]);
  const unused = parameter([5, 5], [1, 2]);
  const optimizer = new Optimizer(new Map(Object.entries({ matrix, vector, unused })), settings, alone("cpu"));
  const [ofMatrix, ofVector] = [
    reference([1, -2, 3, 0.5], { m: [], v: [], t: 0 }),
    reference([0.3, -0.7], { m: [], v: [], t: 0 }),
  ];
  const gradients = [
    { m: [0.1, 0.2, -0.3, 0], v: [0.05, 0.1] },
    { m: [3, 0, 0, 4], v: [0, 12] }, // its norm is 13: scaled down to 1
    { m: [0, -0.1, 0.2, 0.1], v: [-0.3, 0.2] },
  ];
  for (const [step, { m, v }] of gradients.entries()) {
    const norm = Math.hypot(...m, ...v);
    const scale = Math.min(1, 1 / (norm + 1e-6));
    addGradient(
      matrix,
      m.map((value) => value / 2),
    ); // in two parts, as over two streams
    addGradient(
      matrix,
      m.map((value) => value / 2),
    );
    addGradient(vector, v);
    const rate = 0.1 / (step + 1);
    expect(optimizer.step(rate)).toBeCloseTo(norm, 5);
    const expected = [
      ...ofMatrix(
        m.map((value) => value * scale),
        rate,
        0.1,
      ),
      ...ofVector(
        v.map((value) => value * scale),
        rate,
        0,
      ),
    ];
    for (const [i, value] of [...valuesOf(matrix.stored), ...valuesOf(vector.stored)].entries()) {
      expect(value).toBeCloseTo(expected[i] ?? Number.NaN, 5);
    }
  }
  expect(valuesOf(unused.stored)).toEqual([5, 5]);
  expect(optimizer.state().map(({ name, updates }) => [name, updates])).toEqual([
    ["matrix", 3],
    ["vector", 3],
    ["unused", 0],
  ]);
});

test("a norm that is no number updates nothing and is told", () => {
  const weight = parameter([1, 2], [2]);
  const optimizer = new Optimizer(new Map([["weight", weight]]), settings, alone("cpu"));
  addGradient(weight, [Number.NaN, 1]);
  expect(optimizer.step(0.1)).toBeNaN();
  expect(valuesOf(weight.stored)).toEqual([1, 2]);
  addGradient(weight, [0, 0]);
  expect(optimizer.step(0.1)).toBe(0); // the NaN is gone
});

test("bfloat16 weights: small updates and many small gradients add up in float32", () => {
  const weight = parameter([1], [1], "bfloat16");
  const optimizer = new Optimizer(new Map([["weight", weight]]), { ...settings, maxGradNorm: 0 }, alone("cpu"));
  for (let stream = 0; stream < 512; stream++) {
    addGradient(weight, [2 ** -9]);
    optimizer.collect(); // in bfloat16 the sum would stop at 2^-1, where a 2^-9 is rounded away
  }
  expect(optimizer.step(1e-4)).toBeCloseTo(1, 5);
  for (let step = 1; step < 100; step++) {
    addGradient(weight, [1]);
    optimizer.step(1e-4); // moves the weight by 1e-4: less than half of bfloat16's distance below 1
  }
  expect(valuesOf(weight.stored)[0]).toBeCloseTo(0.99, 2);
  for (const { weight } of optimizer.state()) expect(valuesOf(weight())[0]).toBeCloseTo(0.99, 4);
});

test("a restored state goes on as the saved one would have", () => {
  const steps = [
    [0.5, -1],
    [0.2, 0.1],
    [-0.4, 0.3],
  ];
  const run = (from: Optimizer, weight: Parameter, gradients: readonly number[][]): number[] => {
    for (const gradient of gradients) {
      addGradient(weight, gradient);
      from.step(0.01);
    }
    return valuesOf(weight.stored);
  };
  const first = parameter([1, 2], [2]);
  const original = new Optimizer(new Map([["weight", first]]), settings, alone("cpu"));
  run(original, first, steps.slice(0, 2));
  const second = parameter([0, 0], [2]);
  const resumed = new Optimizer(new Map([["weight", second]]), settings, alone("cpu"));
  for (const state of original.state()) resumed.restore(() => state);
  expect(run(resumed, second, steps.slice(2))).toEqual(run(original, first, steps.slice(2)));
});
