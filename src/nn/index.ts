/** @file Neural network building blocks on the tensor library; they know no model. */

export { gelu, silu, swiglu } from "./activations.ts";
export { Checkpointing } from "./checkpointing.ts";
export { Decoder, type DecoderConfig } from "./decoder.ts";
export { Embedding, GELU, Linear, RMSNorm, SwiGLU } from "./layers.ts";
export { attachLora, namedLinears } from "./linears.ts";
export { type LoraOptions, LowRankUpdate } from "./lora.ts";
export { Module } from "./module.ts";
export { Converter, Parameter, type Placement, placement } from "./parameter.ts";
export { inverseFrequencies, type Rotation, rotate, rotation } from "./rope.ts";
export { RowGradients } from "./row-gradients.ts";
export { steadyRows } from "./rows.ts";
export { type LayerRunner, runLayers } from "./stack.ts";
