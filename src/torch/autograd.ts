/** @file Gradients. Leaves are tensors with `setRequiresGrad(true)`; operators record themselves. */
import { native, translated } from "./native.ts";
import { refusePromise, Tensor } from "./tensor.ts";

/** Runs `body` without recording, as inference does. Throws `scope_misuse` for an asynchronous body. */
export function noGrad<T>(body: () => T): T {
  const before = native().setGradEnabled(false);
  try {
    const result = body();
    refusePromise("noGrad()", result);
    return result;
  } finally {
    native().setGradEnabled(before);
  }
}

/**
 * Adds the gradient with respect to every leaf to what the leaf has accumulated.
 *
 * @param root a scalar, or of any shape where the gradient with respect to it is given as `gradient`
 */
export function backward(root: Tensor, options: { keepGraph?: boolean; gradient?: Tensor } = {}): void {
  const { gradient, keepGraph = false } = options;
  translated(() => native().backward([root.handle], gradient && [gradient.handle], keepGraph));
}

/** What `backward` has accumulated in a leaf: a tensor over the same memory, or null. */
export function accumulatedGradient(leaf: Tensor): Tensor | null {
  const handle = native().gradient(leaf.handle);
  return handle === null ? null : new Tensor(handle);
}

export function clearGradient(leaf: Tensor): void {
  native().clearGradient(leaf.handle);
}
