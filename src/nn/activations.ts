/**
 * @file Activations whose bits do not depend on where an element stands. libtorch's fused kernels treat the last elements
 * of each thread's share with another exponential, so that a value can differ in its last bit with its place in the
 * tensor and with the number of threads. `exp` and `erf` by themselves do not. In float32 on the CPU inference composes
 * from these, at about one percent of a layer's time; elsewhere, and where gradients are recorded, it takes the fused kernels.
 */
import {
  addScalarInto,
  divOut,
  erfInto,
  expInto,
  gelu as fusedGelu,
  silu as fusedSilu,
  mul,
  mulInto,
  mulScalar,
  neg,
  type Tensor,
} from "../torch/index.ts";

const needsExactPlaces = (x: Tensor): boolean => x.dtype === "float32" && x.device === "cpu" && !x.requiresGrad;

/** silu(gate) * up with silu(x) = x / (1 + e^-x) (Shazeer, arXiv 2002.05202), in one new tensor. */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  if (!needsExactPlaces(gate) || up.requiresGrad) return mul(fusedSilu(gate), up);
  const result = silu(gate);
  mulInto(result, up);
  return result;
}

/** x / (1 + e^-x) */
export function silu(x: Tensor): Tensor {
  if (!needsExactPlaces(x)) return fusedSilu(x);
  const result = neg(x);
  expInto(result);
  addScalarInto(result, 1);
  divOut(x, result, result);
  return result;
}

/** x / 2 * (1 + erf(x / sqrt(2))) */
export function gelu(x: Tensor): Tensor {
  if (!needsExactPlaces(x)) return fusedGelu(x);
  const share = mulScalar(x, Math.SQRT1_2);
  erfInto(share);
  addScalarInto(share, 1);
  mulInto(share, x);
  return mulScalar(share, 0.5);
}
