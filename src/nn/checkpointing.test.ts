import { expect, test } from "vitest";
import {
  accumulatedGradient,
  backward,
  clearGradient,
  Generator,
  liveTensors,
  mulScalar,
  randn,
  scope,
  sum,
  type Tensor,
} from "../torch/index.ts";
import { Checkpointing, type LayerRunner, placement, runLayers, SwiGLU } from "./index.ts";

const [tokens, width, inner] = [32, 8, 24];
const generator = new Generator(7);
const random = (shape: readonly number[]): Tensor => mulScalar(randn(shape, generator, "float32"), 0.3);

function stackOf(depth: number): SwiGLU[] {
  return Array.from({ length: depth }, () => {
    const layer = new SwiGLU(width, inner, { bias: true });
    for (const [, parameter] of layer.namedParameters()) {
      parameter.assign(random(parameter.shape), placement("cpu", "float32", "owned"));
      parameter.stored.setRequiresGrad(true);
    }
    return layer;
  });
}

/** The gradients of everything, after x has gone through the layers twice. */
function gradientsBy(run: LayerRunner, finish: () => void, layers: readonly SwiGLU[], x: Tensor): number[][] {
  const leaves = [x, ...layers.flatMap((layer) => [...layer.namedParameters()].map(([, { stored }]) => stored))];
  for (const leaf of leaves) clearGradient(leaf);
  scope(() => {
    const forward = (layer: SwiGLU, input: Tensor): Tensor => layer.forward(input);
    backward(sum(run(layers, run(layers, x, forward), forward)));
    finish();
  });
  return scope(() => leaves.map((leaf) => [...(accumulatedGradient(leaf)?.toFloat32Array() ?? [])]));
}

test("gradients are those of autograd by itself, through several stacks", () => {
  const layers = stackOf(3);
  const x = random([tokens, width]).setRequiresGrad(true);
  const plain = gradientsBy(runLayers, () => {}, layers, x);
  const checkpointing = new Checkpointing();
  const found = gradientsBy(checkpointing.run, () => checkpointing.backward(), layers, x);
  expect(plain.every((gradient) => gradient.some((value) => value !== 0))).toBe(true);
  for (const [which, gradient] of plain.entries()) {
    const largest = Math.max(...gradient.map(Math.abs));
    for (const [i, value] of gradient.entries()) {
      expect(Math.abs(value - (found[which]?.[i] ?? Number.NaN)) / largest).toBeLessThan(1e-5);
    }
  }
});

test("between forward and backward a layer holds its input alone", () => {
  const x = random([tokens, width]);
  const held = (depth: number): number => {
    const layers = stackOf(depth);
    const before = liveTensors().bytes;
    return scope(() => {
      const checkpointing = new Checkpointing();
      checkpointing.run(layers, x, (layer, input) => layer.forward(input));
      return liveTensors().bytes - before;
    });
  };
  const input = tokens * width * 4;
  expect(held(9) - held(3)).toBe(6 * input);
});

test("a stack that nothing was read from leaves no gradients", () => {
  const [layer] = stackOf(1);
  scope(() => {
    const checkpointing = new Checkpointing();
    checkpointing.run([layer as SwiGLU], random([tokens, width]), (one, input) => one.forward(input));
    checkpointing.backward();
  });
  expect(layer && accumulatedGradient(layer.upProj.weight.stored)).toBeNull();
});
