/**
 * @file Attention over trees of tokens that are small: each tree is a row of a batch, and a mask says which tokens are
 * another's ancestors. One kernel call for trees of about one length, where packed-attention.ts makes one for each branch:
 * with hundreds of short branches the calls would last longer than their arithmetic.
 */

import {
  cat,
  type Device,
  type Dtype,
  indexSelect,
  reshape,
  scaledDotProductAttention,
  type Tensor,
  tensorFrom,
  toDtype,
  transpose,
  view,
} from "../../torch/index.ts";
import type { Run, TokenAttention } from "./packed-attention.ts";

/** Consecutive tokens of a tree: each sees those before it here, and all of the nodes above. */
export interface TokenNode {
  readonly run: Run;
  /** Its place among the tree's nodes, before this one's; -1 for a root. */
  readonly parent: number;
}

/** Trees that go to the kernel together. */
interface Batch {
  readonly trees: number;
  /** Tokens of each, filled up. */
  readonly length: number;
  /** Their tokens in the stream, tree by tree [trees * length]; what fills up stands for the tree's first token. */
  readonly index: Tensor;
  readonly mask: Tensor; // [trees, 1, length, length]
}

/** Lengths are filled up to a multiple of this: trees of about one length share a call. */
const lengthStep = 32;

export class TreeAttention implements TokenAttention {
  readonly #batches: readonly Batch[];
  /** Where each token of the stream lies in the batches, one after the other. */
  readonly #back: Tensor;

  /**
   * Makes the masks that all layers share; they belong to the surrounding scope.
   *
   * @param trees side by side in the stream, in its order
   * @param of the queries: their dtype and device
   */
  constructor(trees: readonly (readonly TokenNode[])[], of: { dtype: Dtype; device: Device }) {
    const byLength = new Map<number, (readonly TokenNode[])[]>();
    for (const tree of trees) {
      const length = Math.ceil(lengthOf(tree) / lengthStep) * lengthStep;
      byLength.set(length, [...(byLength.get(length) ?? []), tree]);
    }
    const back = new Int32Array(trees.reduce((sum, tree) => sum + lengthOf(tree), 0));
    let placed = 0;
    this.#batches = [...byLength].map(([length, alike]) => {
      const index = new Int32Array(alike.length * length);
      const mask = new Float32Array(alike.length * length * length).fill(Number.NEGATIVE_INFINITY);
      for (const [row, tree] of alike.entries()) {
        const start = tree[0]?.run.start ?? 0;
        for (let token = 0; token < length; token++) {
          const inTree = token < lengthOf(tree);
          index[row * length + token] = inTree ? start + token : start;
          if (inTree) back[start + token] = placed + row * length + token;
          mask[(row * length + token) * length + token] = 0; // what fills up sees itself
        }
        fillMask(mask.subarray(row * length * length, (row + 1) * length * length), tree, start, length);
      }
      placed += index.length;
      return {
        trees: alike.length,
        length,
        index: tensorFrom(index, [index.length], "int32", of.device),
        mask: toDtype(tensorFrom(mask, [alike.length, 1, length, length], "float32", of.device), of.dtype),
      };
    });
    this.#back = tensorFrom(back, [back.length], "int32", of.device);
  }

  /** q [tokens, heads, width], k and v [tokens, key/value heads, width], turned -> [tokens, heads, width] */
  attend(_layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor {
    const parts = this.#batches.map(({ trees, length, index, mask }) => {
      const rows = (x: Tensor): Tensor =>
        transpose(view(indexSelect(x, 0, index), [trees, length, x.size(1), x.size(2)]), 1, 2);
      const attended = scaledDotProductAttention(rows(q), rows(k), rows(v), mask, 0, false, null, true);
      return reshape(transpose(attended, 1, 2), [trees * length, q.size(1), q.size(2)]);
    });
    return indexSelect(cat(parts, 0), 0, this.#back);
  }
}

const lengthOf = (tree: readonly TokenNode[]): number => tree.reduce((sum, { run }) => sum + run.length, 0);

/** Opens a tree's mask [length, length] where a token's own node and those above have the tokens up to it. */
function fillMask(mask: Float32Array, tree: readonly TokenNode[], start: number, length: number): void {
  for (const { run, parent } of tree) {
    const above: Run[] = [];
    for (let node = tree[parent]; node !== undefined; node = tree[node.parent]) above.push(node.run);
    for (let token = 0; token < run.length; token++) {
      const row = (run.start - start + token) * length;
      for (const { start: from, length: count } of above) mask.fill(0, row + from - start, row + from - start + count);
      mask.fill(0, row + run.start - start, row + run.start - start + token + 1);
    }
  }
}
