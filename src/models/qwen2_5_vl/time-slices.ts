/** @file A video cut in time. Nothing in the vision tower looks from one step in time to another: windows lie within a frame. */

import type { Visual } from "../prompt.ts";
import type { VisionConfig } from "./config.ts";

/** -> parts of about equal length, each of at most `patches` patches or a single step in time */
export function slicesInTime(
  visual: Visual,
  patches: number,
  { patchSize, spatialMergeSize, temporalPatchSize }: VisionConfig,
): readonly Visual[] {
  const { key, pixels, grid } = visual;
  const { t, h, w } = grid;
  const most = Math.max(1, Math.floor(patches / (h * w))); // steps in time
  if (t <= most) return [visual];
  const steps = Math.ceil(t / Math.ceil(t / most));
  const stepBytes = temporalPatchSize * h * w * patchSize ** 2 * 3;
  return Array.from({ length: Math.ceil(t / steps) }, (_, index) => {
    const from = index * steps;
    const own = Math.min(steps, t - from);
    return {
      ...visual,
      key: `${key} from ${from}, ${own}`,
      pixels: pixels.subarray(from * stepBytes, (from + own) * stepBytes), // the last may lack a frame, as the video does
      grid: { t: own, h, w },
      patches: own * h * w,
      tokens: (own * h * w) / spatialMergeSize ** 2,
    };
  });
}
