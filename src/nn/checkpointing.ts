/**
 * @file Activation checkpointing by layer (Chen et al., arXiv 1604.06174): the forward pass keeps each layer's input alone,
 * and the backward pass computes a layer again before it differentiates it. Memory then grows by one activation per layer
 * instead of all that autograd records, for one more forward pass.
 */
import { accumulatedGradient, backward, detach, noGrad, scope, type Tensor } from "../torch/index.ts";
import type { LayerRunner } from "./stack.ts";

/** A stack that has run forward. */
interface Passed {
  readonly x: Tensor;
  readonly inputs: readonly Tensor[];
  readonly recompute: (index: number, input: Tensor) => Tensor;
  /** A leaf: backward() of what is computed from it leaves its gradient here. */
  readonly output: Tensor;
}

/**
 * Runs stacks of layers for one forward and backward pass. What the layers read besides their input (rotations, masks) must
 * stay until `backward` has returned, and a layer must compute the same both times.
 */
export class Checkpointing {
  readonly #passed: Passed[] = [];

  readonly run: LayerRunner = (layers, x, forward) => {
    const inputs: Tensor[] = [];
    const last = noGrad(() =>
      layers.reduce((input, layer, index) => {
        inputs.push(input);
        return scope(() => forward(layer, input, index));
      }, detach(x)),
    );
    const recompute = (index: number, input: Tensor): Tensor => {
      const layer = layers[index];
      return layer === undefined ? input : forward(layer, input, index);
    };
    const output = detach(last).setRequiresGrad(true);
    this.#passed.push({ x, inputs, recompute, output });
    return output;
  };

  /** Takes the gradients on from the stacks' outputs, the last one first, to their parameters and to what was put in. */
  backward(): void {
    for (let passed = this.#passed.pop(); passed !== undefined; passed = this.#passed.pop()) {
      const { x, inputs, recompute, output } = passed;
      let gradient = accumulatedGradient(output);
      for (const [index, stored] of [...inputs.entries()].reverse()) {
        const above = gradient;
        if (above === null) break; // nothing that was read depends on this stack
        gradient = scope(() => {
          const input = detach(stored).setRequiresGrad(true);
          backward(recompute(index, input), { gradient: above });
          return accumulatedGradient(input);
        });
        above.dispose();
        stored.dispose();
      }
      if (gradient !== null && x.requiresGrad) backward(x, { gradient });
    }
  }
}
