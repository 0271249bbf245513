/** @file The linear layers of a model, found by name, and low-rank updates on them. */
import { VlRewardError } from "../errors.ts";
import { Linear } from "./layers.ts";
import { type LoraOptions, LowRankUpdate } from "./lora.ts";
import type { Module } from "./module.ts";

/** The linear layers of a module by their names. */
export function* namedLinears(module: Module): Generator<[name: string, layer: Linear]> {
  for (const [name, inner] of module.namedModules()) if (inner instanceof Linear) yield [name, inner];
}

/**
 * Gives each layer an update without values, in place of one that it has; its parameters are then `<layer>.lora.a` and
 * `<layer>.lora.b` among those of the model. The layers' weights must be in the dtype that is computed in.
 */
export function attachLora(layers: Iterable<Linear>, options: LoraOptions): LowRankUpdate[] {
  return Array.from(layers, (layer, index) => {
    if (layer.weight.stored.dtype !== layer.weight.dtype) {
      throw new VlRewardError("internal_error", "Expected weights for LoRA to be owned, not converted when used.");
    }
    layer.lora?.dispose();
    const [outputs = 0, inputs = 0] = layer.weight.shape;
    layer.lora = new LowRankUpdate([outputs, inputs], options, index);
    return layer.lora;
  });
}
