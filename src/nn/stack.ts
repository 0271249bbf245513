/** @file Layers one after the other, in constant memory. */
import { scope, type Tensor } from "../torch/index.ts";

/** x through every layer in turn. */
export type LayerRunner = <L>(
  layers: readonly L[],
  x: Tensor,
  forward: (layer: L, x: Tensor, index: number) => Tensor,
) => Tensor;

/** What one layer hands to the next is freed as soon as that one has read it, unless autograd still needs it. */
export const runLayers: LayerRunner = (layers, x, forward) => {
  let current = x;
  for (const [index, layer] of layers.entries()) {
    const next = scope(() => forward(layer, current, index));
    if (current !== x && current !== next) current.dispose(); // a layer may hand on what it was given
    current = next;
  }
  return current;
};
