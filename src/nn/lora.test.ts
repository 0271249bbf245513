import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  accumulatedGradient,
  backward,
  Generator,
  liveTensors,
  noGrad,
  scope,
  sum,
  type Tensor,
  tensorFrom,
} from "../torch/index.ts";
import { attachLora, Linear, Module, namedLinears, placement, SwiGLU } from "./index.ts";

class Block extends Module {
  readonly mlp = new SwiGLU(3, 5, { bias: false });
  readonly heads = [new Linear(3, 2, { bias: true }), new Linear(2, 4, { bias: true })];
}

const place = placement("cpu", "float32", "owned");
const numbers = (length: number, from = 1): Float32Array =>
  Float32Array.from({ length }, (_, i) => ((i * 7 + from) % 11) - 5);

let block: Block;
let before: ReturnType<typeof liveTensors>;
beforeEach(() => {
  before = liveTensors();
  block = new Block();
  for (const [, parameter] of block.namedParameters()) {
    const elements = parameter.shape.reduce((product, length) => product * length, 1);
    parameter.assign(tensorFrom(numbers(elements), parameter.shape), place);
  }
});
afterEach(() => {
  block.dispose();
  expect(liveTensors()).toEqual(before);
});

const first = (): Linear => block.heads[0] as Linear;
const values = (body: () => Tensor): number[] => scope(() => [...body().toFloat32Array()]);

test("layers by name, and the updates' names among the parameters", () => {
  const linears = new Map(namedLinears(block));
  expect([...linears.keys()]).toEqual(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "heads.0", "heads.1"]);
  const plain = [...block.namedParameters()].map(([name]) => name);
  attachLora([first()], { rank: 2, alpha: 1, dropout: 0 });
  const shapes = new Map([...block.namedParameters()].map(([name, { shape }]) => [name, shape]));
  expect([...shapes.keys()].filter((name) => !plain.includes(name))).toEqual(["heads.0.lora.a", "heads.0.lora.b"]);
  expect(shapes.get("heads.0.lora.a")).toEqual([2, 3]);
  expect(shapes.get("heads.0.lora.b")).toEqual([2, 2]);
});

test("a new update changes nothing; A is uniform within 1 / sqrt(inputs), the same for a seed", () => {
  const x = (): Tensor => tensorFrom(numbers(6), [2, 3]);
  const plain = values(() => block.mlp.forward(x()));
  using generator = new Generator(4);
  const linears = [...namedLinears(block)].map(([, linear]) => linear);
  const drawn = (seed: number): number[] => {
    using seeded = new Generator(seed);
    const [update] = attachLora([first()], { rank: 400, alpha: 1, dropout: 0 });
    update?.initialise(seeded, place);
    return [...(update?.a.value.toFloat32Array() ?? [])];
  };
  const a = drawn(1);
  expect(drawn(1)).toEqual(a);
  expect(drawn(2)).not.toEqual(a);
  const bound = 1 / Math.sqrt(3);
  expect(Math.max(...a)).toBeLessThanOrEqual(bound);
  expect(Math.min(...a)).toBeGreaterThanOrEqual(-bound);
  expect(Math.max(...a)).toBeGreaterThan(0.98 * bound);
  expect(Math.min(...a)).toBeLessThan(-0.98 * bound);
  for (const update of attachLora(linears, { rank: 2, alpha: 3, dropout: 0.5 })) update.initialise(generator, place);
  expect(values(() => block.mlp.forward(x()))).toEqual(plain);
});

describe("an update of small whole numbers", () => {
  // W [2, 3], b [2], A [1, 3], B [2, 1]; alpha / rank = 3
  const w = [
    [1, 0, 2],
    [0, -1, 1],
  ];
  beforeEach(() => {
    const layer = first();
    layer.weight.assign(tensorFrom(Float32Array.from(w.flat()), [2, 3]), place);
    layer.bias?.assign(tensorFrom(Float32Array.of(10, 20), [2]), place);
    const [update] = attachLora([layer], { rank: 1, alpha: 3, dropout: 0.25 });
    update?.a.assign(tensorFrom(Float32Array.of(1, 2, -1), [1, 3]), place);
    update?.b.assign(tensorFrom(Float32Array.of(2, -1), [2, 1]), place);
  });

  test("forward and merged weight, by hand", () => {
    // x = (1, 1, 2): W x + b = (15, 21); A x = 1; 3 B A x = (6, -3)
    expect(values(() => first().forward(tensorFrom(Float32Array.of(1, 1, 2), [1, 3])))).toEqual([21, 18]);
    expect(values(() => first().forwardWide(tensorFrom(Float32Array.of(1, 1, 2), [1, 3])))).toEqual([21, 18]);
    const merged = values(() => first().lora?.merged(first().weight.value) ?? tensorFrom(new Float32Array(), [0]));
    expect(merged).toEqual([1 + 6, 0 + 12, 2 - 6, 0 - 3, -1 - 6, 1 + 3]);
  });

  test("gradients of A and B, by hand", () => {
    const { a, b } = first().lora ?? {};
    if (!a || !b) throw new Error("no update");
    for (const { value } of [a, b]) value.setRequiresGrad(true);
    scope(() => {
      backward(sum(first().forward(tensorFrom(Float32Array.of(1, 1, 2), [1, 3]))));
      // d sum / dA = 3 (sum of B) x; d sum / dB = 3 A x for each output
      expect([...(accumulatedGradient(a.value)?.toFloat32Array() ?? [])]).toEqual([3, 3, 6]);
      expect([...(accumulatedGradient(b.value)?.toFloat32Array() ?? [])]).toEqual([3, 3]);
    });
  });

  test("dropout: the same for a seed, another for another, none without; the mean stays", () => {
    const { lora } = first();
    if (!lora) throw new Error("no update");
    const rows = 20_000;
    const x = (): Tensor => tensorFrom(new Float32Array(3 * rows).fill(1), [rows, 3]);
    const updates = (seed: number | undefined): number[] => {
      lora.dropoutSeed = seed;
      return noGrad(() => values(() => lora.forward(x())));
    };
    const [one, again, other, none] = [updates(7), updates(7), updates(2 ** 32 - 1), updates(undefined)];
    expect(again).toEqual(one);
    expect(other).not.toEqual(one);
    expect(new Set(none)).toEqual(new Set([12, -6])); // 3 * (2, -1) * (1 + 2 - 1)
    // A x is one of the sums of 1, 2 and -1, each there with 3/4 and 4/3 as large.
    const sums = new Set([0, 1, 2, 3, -1].map((part) => Math.fround((6 * part * 4) / 3)));
    const found = one.filter((_, i) => i % 2 === 0);
    for (const value of found) expect([...sums].some((sum) => Math.abs(sum - value) < 1e-4)).toBe(true);
    const mean = found.reduce((total, value) => total + value, 0) / rows;
    expect(Math.abs(mean - 12)).toBeLessThan(0.3); // standard deviation 8.5 / sqrt(20000) = 0.06
  });
});

test("weights that are converted when used are refused: a gradient would meet the next one's values", () => {
  const layer = new Linear(2, 2, { bias: false });
  const half = tensorFrom(Uint16Array.of(0x3f80, 0, 0, 0x3f80), [2, 2], "bfloat16");
  const mapped = placement("cpu", "float32", "mapped");
  layer.weight.assign(half, mapped);
  expect(() => attachLora([layer], { rank: 1, alpha: 1, dropout: 0 })).toThrow(/owned/);
  layer.dispose();
});
