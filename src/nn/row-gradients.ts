/**
 * @file Gradients of an embedding, row by row. Autograd's own fills a table as large as the vocabulary in every pass and adds
 * it to that of the passes before; here each pass adds the rows that it has looked up to one table.
 */
import {
  accumulatedGradient,
  backward,
  detach,
  indexAddInto,
  embedding as lookUp,
  noGrad,
  scope,
  type Tensor,
  zeros,
} from "../torch/index.ts";
import type { Embedding } from "./layers.ts";

export class RowGradients {
  readonly #lookups: { readonly weight: Tensor; readonly ids: Tensor; readonly rows: Tensor }[] = [];

  /** As `embedding.forward`; where its weight is trained, `collect` gives it its gradient. Good within the scope. */
  readonly lookUp = (embedding: Embedding, ids: Tensor): Tensor => {
    const weight = embedding.weight.stored;
    if (!weight.requiresGrad) return embedding.forward(ids);
    const rows = detach(noGrad(() => lookUp(weight, ids))).setRequiresGrad(true);
    this.#lookups.push({ weight, ids, rows });
    return rows;
  };

  /** After the backward pass: adds the rows' gradients to their weights'. */
  collect(): void {
    noGrad(() =>
      scope(() => {
        for (const { weight, ids, rows } of this.#lookups) {
          const gradient = accumulatedGradient(rows);
          if (!gradient) continue;
          // A leaf's gradient with respect to itself is what it is given.
          if (!accumulatedGradient(weight)) {
            backward(weight, { gradient: zeros(weight.shape, weight.dtype, null, weight.device) });
          }
          const table = accumulatedGradient(weight);
          if (table) indexAddInto(table, 0, ids, gradient);
        }
      }),
    );
  }
}
