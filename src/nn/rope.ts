/** @file Rotary position embeddings (Su et al., arXiv 2104.09864), in the half-split layout of Hugging Face's models. */

import type { Device, Tensor } from "../torch/index.ts";
import {
  add,
  cat,
  cos,
  type Dtype,
  mul,
  narrow,
  neg,
  powScalar,
  reciprocal,
  scope,
  sin,
  tensorFrom,
  toDtype,
  unsqueeze,
} from "../torch/index.ts";

/**
 * theta^(-2i/width) for i in 0..width/2. The steps are the reference's, in float32 and on libtorch: positions in the
 * thousands turn a last-bit difference here into 1e-4 of a turn.
 */
export function inverseFrequencies(width: number, theta: number): Float32Array {
  return scope(() => {
    const exponents = Float32Array.from({ length: width / 2 }, (_, i) => Math.fround(2 * i) / width);
    return reciprocal(powScalar(theta, tensorFrom(exponents, [width / 2]))).toFloat32Array();
  });
}

/** The cosines and sines that turn one token's queries and keys. */
export interface Rotation {
  readonly cos: Tensor; // [tokens, 1, width]
  readonly sin: Tensor; // [tokens, 1, width]
}

/** angles [tokens, width / 2] in radians -> their rotation, both halves alike. Computed in float32. */
export function rotation(angles: Float32Array, halfWidth: number, dtype: Dtype, device: Device): Rotation {
  const half = tensorFrom(angles, [angles.length / halfWidth, halfWidth], "float32", device);
  const both = unsqueeze(cat([half, half], -1), 1);
  return { cos: toDtype(cos(both), dtype), sin: toDtype(sin(both), dtype) };
}

/** x [tokens, heads, width] -> the same, turned by each token's angles. */
export function rotate(x: Tensor, { cos, sin }: Rotation): Tensor {
  const half = x.size(-1) / 2;
  return scope(() => {
    const swapped = cat([neg(narrow(x, -1, half, half)), narrow(x, -1, 0, half)], -1);
    return add(mul(x, cos), mul(swapped, sin));
  });
}
