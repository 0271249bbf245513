/** @file How many threads the arithmetic of a model runs on. */
import type { Shape } from "../../models/backbone.ts";

/** Elements of a layer's matrix below which threads cost more than they save, by far so on a busy machine. */
const smallLayer = 2 ** 18;

/**
 * On one and on two threads all matrix products have the same bits; on more, those whose columns leave a last block of 1 to
 * 11 beside whole blocks of 16 can differ: MKL then cuts the columns elsewhere. No published model has such a layer.
 */
const mostWithOddColumns = 2;

/** -> the threads that pay, and give the bits that one gives. `available` are there for this model. */
export function threadsFor({ decoder, vision }: Shape, available: number): number {
  if (decoder.hidden * decoder.intermediate < smallLayer) return 1;
  const seeing = vision ? [vision.hidden, vision.intermediate, vision.hidden * vision.patchesPerToken] : [];
  const { hidden, intermediate, headWidth, heads, keyValueHeads } = decoder;
  const columns = [hidden, headWidth * heads, headWidth * keyValueHeads, intermediate, ...seeing];
  const odd = columns.some((count) => count % 16 > 0 && count % 16 < 12);
  return odd ? Math.min(available, mostWithOddColumns) : available;
}
