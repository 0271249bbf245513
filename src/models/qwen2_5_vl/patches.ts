/** @file Pixels to patches: the rescaling, normalisation and layout of Qwen2VLImageProcessor (transformers 4.51.3). */
import type { RgbImage } from "../../media/image.ts";
import type { PreprocessorConfig } from "./preprocessor-config.ts";
import type { Grid } from "./window-plan.ts";

export interface Patches {
  /** [t * h * w, 3 * frames * height * width]: unit by unit in rows of units, patches row by row within a unit */
  readonly values: Float32Array;
  readonly grid: Grid;
}

/**
 * Cuts frames of one size into patches. A single frame, a picture, fills every temporal place; of several, the last is
 * repeated until the count is whole. Sides must be multiples of patchSize * mergeSize.
 */
export function patchify(frames: readonly RgbImage[], config: PreprocessorConfig): Patches {
  const { patchSize, mergeSize, temporalPatchSize } = config;
  const [first] = frames;
  const grid: Grid = {
    t: Math.ceil(frames.length / temporalPatchSize),
    h: (first?.height ?? 0) / patchSize,
    w: (first?.width ?? 0) / patchSize,
  };
  const normalized = normalizationTables(config);
  const values = new Float32Array(grid.t * grid.h * grid.w * 3 * temporalPatchSize * patchSize ** 2);
  let at = 0;
  for (let t = 0; t < grid.t; t++) {
    const slab = Array.from(
      { length: temporalPatchSize },
      (_, i) => frames[t * temporalPatchSize + i] ?? frames.at(-1),
    );
    for (let unitTop = 0; unitTop < grid.h; unitTop += mergeSize) {
      for (let unitLeft = 0; unitLeft < grid.w; unitLeft += mergeSize) {
        for (let patch = 0; patch < mergeSize ** 2; patch++) {
          const top = (unitTop + Math.floor(patch / mergeSize)) * patchSize;
          const left = (unitLeft + (patch % mergeSize)) * patchSize;
          for (const [channel, table] of normalized.entries()) {
            for (const frame of slab) {
              if (frame) at = copyPatch(frame, { top, left, channel, patchSize }, table, values, at);
            }
          }
        }
      }
    }
  }
  return { values, grid };
}

/** Writes one channel of one patch at `at`; -> where the next one goes. */
function copyPatch(
  { data, width }: RgbImage,
  place: { top: number; left: number; channel: number; patchSize: number },
  table: Float32Array,
  values: Float32Array,
  at: number,
): number {
  const { top, left, channel, patchSize } = place;
  let to = at;
  for (let row = top; row < top + patchSize; row++) {
    let from = (row * width + left) * 3 + channel;
    for (let column = 0; column < patchSize; column++, from += 3) values[to++] = table[data[from] ?? 0] ?? 0;
  }
  return to;
}

/** For each channel what the 256 levels become, with the reference's roundings to float32. */
function normalizationTables({ imageMean, imageStd, rescaleFactor }: PreprocessorConfig): Float32Array[] {
  return imageMean.map((mean, channel) => {
    const deviation = Math.fround(imageStd[channel] ?? 1);
    const shift = Math.fround(mean);
    return Float32Array.from({ length: 256 }, (_, level) => {
      const rescaled = Math.fround(level * rescaleFactor);
      return Math.fround(rescaled - shift) / deviation;
    });
  });
}
