/** @file What keeps a long run flat: scopes, and the garbage collector's finalizers behind them. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { accumulatedGradient, backward, clearGradient, noGrad } from "./autograd.ts";
import { setThreadCount } from "./device.ts";
import { linear, mul, silu, sum } from "./ops.ts";
import { keep, liveTensors, scope, type Tensor, tensorFrom } from "./tensor.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

setThreadCount(1); // threads that wait for a busy machine would take most of the time

const width = 64;
const rows = 64;
const weight = (seed: number): Tensor =>
  tensorFrom(
    Float32Array.from({ length: width * width }, (_, i) => Math.sin(seed + i) / 8),
    [width, width],
  );
const layers = { first: weight(1), second: weight(2), bias: tensorFrom(new Float32Array(width), [width]) };
const input = tensorFrom(new Float32Array(rows * width).fill(0.5), [rows, width]);

const forward = (): Tensor => linear(silu(linear(input, layers.first, layers.bias)), layers.second, layers.bias);

/** Growth of resident memory over `body`, in MB, after a garbage collection. */
function growthOf(body: () => void): number {
  collectGarbage();
  const before = process.memoryUsage.rss();
  body();
  collectGarbage();
  return (process.memoryUsage.rss() - before) / 1e6;
}

describe("a long run", () => {
  // Each forward makes 48 KB of results: without scopes 10,000 of them are 490 MB.
  test("10,000 forwards leave handles and resident memory flat", () => {
    const run = (count: number) => {
      for (let i = 0; i < count; i++) noGrad(() => scope(() => sum(forward()).toFloat32Array()));
    };
    run(2000);
    const live = liveTensors();
    expect(growthOf(() => run(10_000))).toBeLessThan(6);
    expect(liveTensors()).toEqual(live);
  });

  test("and so do 2,000 steps forward and backward", () => {
    const leaf = layers.first.setRequiresGrad(true);
    const run = (count: number) => {
      for (let i = 0; i < count; i++) {
        scope(() => {
          const output = forward();
          backward(sum(mul(output, output)));
          accumulatedGradient(leaf);
        });
        clearGradient(leaf);
      }
    };
    run(1000);
    const live = liveTensors();
    expect(growthOf(() => run(2000))).toBeLessThan(6);
    expect(liveTensors()).toEqual(live);
    leaf.setRequiresGrad(false);
  });
});

describe("tensors that nobody holds", () => {
  /** Collects garbage until the count of live handles is at most `wanted`, or for two seconds. */
  async function liveHandlesDownTo(wanted: number): Promise<number> {
    for (let i = 0; i < 100 && liveTensors().handles > wanted; i++) {
      collectGarbage();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return liveTensors().handles;
  }

  test("are freed by the garbage collector outside scopes, kept ones too", async () => {
    const before = liveTensors().handles;
    const held = silu(input);
    for (let i = 0; i < 100; i++) silu(input);
    for (let i = 0; i < 100; i++) scope(() => keep(silu(input)));
    for (let i = 0; i < 100; i++) scope(() => silu(input));
    expect(liveTensors().handles).toBe(before + 301);
    expect(await liveHandlesDownTo(before + 1)).toBe(before + 1);
    expect(held.shape).toEqual([rows, width]);
    held.dispose();
  });

  test("are not freed again when they were disposed of before", async () => {
    const before = liveTensors().handles;
    for (let i = 0; i < 100; i++) silu(input).dispose();
    const others = Array.from({ length: 100 }, () => silu(input)); // in the same places
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(liveTensors().handles).toBe(before + 100);
    for (const tensor of others) tensor.dispose();
  });
});
