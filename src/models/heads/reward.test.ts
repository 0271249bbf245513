import { afterEach, describe, expect, it } from "vitest";
import { placement } from "../../nn/index.ts";
import {
  accumulatedGradient,
  backward,
  Generator,
  liveTensors,
  noGrad,
  randn,
  scope,
  setThreadCount,
  sum,
  tensorFrom,
  threadCount,
} from "../../torch/index.ts";
import { type RewardHead, rewardHead } from "./reward.ts";

const [hidden, width] = [48, 32];
const place = placement("cpu", "float32", "owned");

/** A head of two layers, whose biases are no zeros, and its numbers by name. */
function twoLayers(): { head: RewardHead; numbers: Map<string, Float32Array> } {
  using generator = new Generator(1);
  const head = rewardHead({ hidden, width, bias: true });
  for (const [, parameter] of head.namedParameters()) {
    parameter.assign(
      scope(() => randn(parameter.shape, generator)),
      place,
    );
  }
  const numbers = new Map([...head.namedParameters()].map(([name, { stored }]) => [name, stored.toFloat32Array()]));
  return { head, numbers };
}

function states(rows: number): Float32Array {
  using generator = new Generator(2);
  return scope(() => randn([rows, hidden], generator).toFloat32Array());
}

const rewardsOf = (head: RewardHead, values: Float32Array): Float32Array =>
  noGrad(() => scope(() => head.forward(tensorFrom(values, [values.length / hidden, hidden])).toFloat32Array()));

describe("a head of two layers", () => {
  const { head, numbers } = twoLayers();
  const threads = threadCount();
  afterEach(() => setThreadCount(threads));

  it("has the names and shapes of PyTorch's Sequential(Linear, SiLU, Linear)", () => {
    expect([...head.namedParameters("head.")].map(([name, { shape }]) => [name, shape])).toEqual([
      ["head.0.weight", [width, hidden]],
      ["head.0.bias", [width]],
      ["head.2.weight", [1, width]],
      ["head.2.bias", [1]],
    ]);
  });

  it("gives w2 . silu(W0 x + b0) + b2", () => {
    const of = (name: string, index: number): number => numbers.get(name)?.[index] ?? Number.NaN;
    const all = states(5);
    const expected = Array.from({ length: 5 }, (_, row) => {
      let reward = of("2.bias", 0);
      for (let unit = 0; unit < width; unit++) {
        let inner = of("0.bias", unit);
        for (let i = 0; i < hidden; i++) inner += of("0.weight", unit * hidden + i) * (all[row * hidden + i] ?? 0);
        reward += of("2.weight", unit) * (inner / (1 + Math.exp(-inner)));
      }
      return reward;
    });
    const found = rewardsOf(head, all);
    expect(found).toHaveLength(5);
    for (const [row, reward] of found.entries()) expect(Math.abs(reward - (expected[row] ?? 0))).toBeLessThan(1e-4);
  });

  it.each([1, 2, 3, 4, 8])("has the same bits alone and in company, on %i threads", (count) => {
    const all = states(77);
    const company = rewardsOf(head, all);
    setThreadCount(count);
    for (let row = 0; row < 77; row++) {
      expect(rewardsOf(head, all.slice(row * hidden, (row + 1) * hidden))[0]).toBe(company[row]);
    }
    for (const rows of [2, 3, 15, 16, 17, 31, 64, 77]) {
      expect(rewardsOf(head, all.slice(0, rows * hidden))).toEqual(company.slice(0, rows));
    }
  });

  it("hands every weight its gradient, and leaves nothing behind", () => {
    const before = liveTensors();
    const { head } = twoLayers();
    for (const [, { stored }] of head.namedParameters()) stored.setRequiresGrad(true);
    scope(() => backward(sum(head.forward(tensorFrom(states(3), [3, hidden])))));
    for (const [name, { stored }] of head.namedParameters()) {
      const gradient = scope(() => accumulatedGradient(stored)?.toFloat32Array() ?? new Float32Array());
      expect(
        gradient.some((value) => value !== 0),
        name,
      ).toBe(true);
    }
    head.dispose();
    expect(liveTensors().handles).toBe(before.handles);
  });
});

it("a new head of two layers is drawn with variance 1 / (inputs + 1), without biases", () => {
  using generator = new Generator(7);
  const head = rewardHead({ hidden: 255, width: 1023, bias: true });
  head.initialise(generator, place);
  for (const [name, { stored, shape }] of head.namedParameters()) {
    const values = stored.toFloat32Array();
    const meanSquare = values.reduce((sum, value) => sum + value * value, 0) / values.length;
    if (shape.length === 1) expect(meanSquare, name).toBe(0);
    // Four standard errors of a mean square.
    else expect(Math.abs(meanSquare * ((shape[1] ?? 0) + 1) - 1), name).toBeLessThan(4 * Math.sqrt(2 / values.length));
  }
  head.dispose();
});
