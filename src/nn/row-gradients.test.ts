import { expect, test } from "vitest";
import {
  accumulatedGradient,
  backward,
  clearGradient,
  mul,
  scope,
  sum,
  type Tensor,
  tensorFrom,
} from "../torch/index.ts";
import { Embedding, placement, RowGradients } from "./index.ts";

const table = Float32Array.from({ length: 5 * 3 }, (_, i) => i / 7);

function embeddingOf(trained: boolean): Embedding {
  const embedding = new Embedding(5, 3);
  embedding.weight.assign(tensorFrom(table, [5, 3]), placement("cpu", "float32", "owned"));
  embedding.weight.stored.setRequiresGrad(trained);
  return embedding;
}

const passes = [
  [1, 4, 1],
  [0, 4],
].map((ids) => Int32Array.from(ids));

/** The gradient after two passes over some rows. */
function gradientBy(look: (ids: Tensor) => Tensor, finish: () => void, weight: Tensor): number[] {
  clearGradient(weight);
  for (const ids of passes) {
    scope(() => {
      const rows = look(tensorFrom(ids, [ids.length]));
      backward(sum(mul(rows, mul(rows, rows))));
      finish();
    });
  }
  return scope(() => [...(accumulatedGradient(weight)?.toFloat32Array() ?? [])]);
}

test("the gradient is autograd's own, for rows that come twice and over several passes", () => {
  const embedding = embeddingOf(true);
  const { stored } = embedding.weight;
  const expected = gradientBy(
    (ids) => embedding.forward(ids),
    () => {},
    stored,
  );
  let rows = new RowGradients();
  const found = gradientBy(
    (ids) => {
      rows = new RowGradients();
      return rows.lookUp(embedding, ids);
    },
    () => rows.collect(),
    stored,
  );
  expect(expected.some((value) => value !== 0)).toBe(true);
  for (const [i, value] of expected.entries()) expect(found[i]).toBeCloseTo(value, 5);
});

test("a frozen embedding is only read", () => {
  const embedding = embeddingOf(false);
  scope(() => {
    const rows = new RowGradients();
    const found = rows.lookUp(embedding, tensorFrom(Int32Array.of(2), [1]));
    expect(found.requiresGrad).toBe(false);
    expect([...found.toFloat32Array()]).toEqual([...table.slice(6, 9)]);
    rows.collect();
  });
  expect(accumulatedGradient(embedding.weight.stored)).toBeNull();
});
