/** @file How many threads the arithmetic of a scorer runs on. */
import type { Qwen25VLConfig } from "../../models/qwen2_5_vl/config.ts";

/** Elements of a layer's matrix below which threads cost more than they save, by far so on a busy machine. */
const smallLayer = 2 ** 18;

/**
 * On one and on two threads all matrix products have the same bits; on more, those whose columns leave a last block of 1 to
 * 11 beside whole blocks of 16 can differ: MKL then cuts the columns elsewhere. No published model has such a layer.
 */
const mostWithOddColumns = 2;

/** -> the threads that pay, and give the bits that one gives. `available` are there for this scorer. */
export function threadsFor({ text, vision }: Qwen25VLConfig, available: number): number {
  if (text.hiddenSize * text.intermediateSize < smallLayer) return 1;
  const keyValues = (text.hiddenSize / text.heads) * text.keyValueHeads;
  const merged = vision.hiddenSize * vision.spatialMergeSize ** 2;
  const columns = [
    text.hiddenSize,
    keyValues,
    text.intermediateSize,
    vision.hiddenSize,
    vision.intermediateSize,
    merged,
  ];
  const odd = columns.some((count) => count % 16 > 0 && count % 16 < 12);
  return odd ? Math.min(available, mostWithOddColumns) : available;
}
