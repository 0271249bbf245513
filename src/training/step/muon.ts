/**
 * @file Muon's step for matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): the momentum's nearest
 * matrix with orthonormal rows or columns, found by five turns of a Newton-Schulz iteration. It is scaled as AdamW's steps
 * are long (Liu et al., arXiv 2502.16982, section 2.2), so that one learning rate and one weight decay serve both.
 */
import {
  add,
  addInto,
  clamp,
  foreachMulInto,
  matmul,
  mul,
  mulScalar,
  reciprocal,
  select,
  sqrt,
  stack,
  sumAlong,
  type Tensor,
  toDtype,
  transpose,
} from "../../torch/index.ts";

/** The turns and the odd polynomial of each, which drives singular values towards 1. */
const turns = 5;
const [a, b, c] = [3.4445, -4.775, 2.0315];

/**
 * Moves the momentum on, in place, and looks one step ahead (Nesterov).
 *
 * @param momentum of any shape; becomes mu * momentum + (1 - mu) * gradient
 * @returns mu * that + (1 - mu) * gradient
 */
export function lookAhead(momentum: Tensor, gradient: Tensor, mu: number): Tensor {
  foreachMulInto([momentum], mu);
  addInto(momentum, gradient, 1 - mu);
  return add(mulScalar(momentum, mu), gradient, 1 - mu);
}

/**
 * -> for each matrix one with its singular vectors and singular values near 1 (between 0.7 and 1.2), times
 * 0.2 * sqrt(the longer side): as long as AdamW's step usually is
 *
 * @param matrices all of one shape [rows, columns]; computed in float32
 */
export function orthogonalized(matrices: readonly Tensor[]): Tensor[] {
  const [rows = 1, columns = 1] = matrices[0]?.shape ?? [];
  const isTall = rows > columns;
  const flipped = (x: Tensor): Tensor => (isTall ? transpose(x, 1, 2) : x);
  let x = flipped(toDtype(stack(matrices), "float32")); // [matrices, shorter, longer]
  const norm = sqrt(sumAlong(mul(x, x), [1, 2], true));
  x = mul(x, reciprocal(clamp(norm, 1e-7)));
  for (let turn = 0; turn < turns; turn++) {
    const gram = matmul(x, transpose(x, 1, 2));
    const polynomial = add(mulScalar(gram, b), matmul(gram, gram), c);
    x = add(mulScalar(x, a), matmul(polynomial, x));
  }
  const scaled = mulScalar(flipped(x), 0.2 * Math.sqrt(Math.max(rows, columns)));
  return matrices.map((_, index) => select(scaled, 0, index));
}
