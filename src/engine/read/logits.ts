/** @file The language head on some of a stream's tokens. */
import { steadyRows } from "../../nn/index.ts";
import { linear, narrow, type Tensor, toDtype } from "../../torch/index.ts";
import { rowsOf } from "../pass/stream.ts";

/**
 * -> numbers for each token of the vocabulary [rows, vocabulary] in float32; a row's have the bits that they have with any
 * other rows and threads (src/nn/rows.ts)
 */
export function logitsOf(all: Tensor, rows: Int32Array, weight: Tensor): Tensor {
  const steady = new Int32Array(steadyRows(rows.length)).fill(rows[0] ?? 0);
  steady.set(rows);
  return narrow(toDtype(linear(rowsOf(all, [steady]), weight), "float32"), 0, 0, rows.length);
}
