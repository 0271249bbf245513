/**
 * @file The size that a picture or frame gets before it is cut into patches: `smart_resize` of qwen_vl_utils 0.0.11,
 * which transformers 4.51.3 repeats.
 */
import { VlRewardError } from "../../errors.ts";

/** The limits of a picture that names none, by the pixels along a side of one visual token. */
export const defaultLimits = (factor: number): { readonly minPixels: number; readonly maxPixels: number } => ({
  minPixels: 4 * factor ** 2,
  maxPixels: 16384 * factor ** 2,
});

/** Frames that one step in time of the model covers. Videos have whole steps. */
export const frameFactor = 2;

const maxAspectRatio = 200;

export interface ResizeLimits {
  /** The fewest and the most pixels of the result. */
  readonly minPixels: number;
  readonly maxPixels: number;
  /** Both sides of the result are multiples of this. */
  readonly factor: number;
}

export interface Size {
  readonly height: number;
  readonly width: number;
}

/**
 * The size nearest to `height` x `width` within the limits, its aspect ratio kept as well as whole factors allow.
 * Throws `media_aspect_ratio`, or `media_options` where the limits contradict each other or leave nothing.
 */
export function smartResize(height: number, width: number, { minPixels, maxPixels, factor }: ResizeLimits): Size {
  if (maxPixels < minPixels) {
    throw new VlRewardError("media_options", `max_pixels is ${maxPixels}, less than min_pixels, which is ${minPixels}`);
  }
  const ratio = Math.max(height, width) / Math.min(height, width);
  if (ratio > maxAspectRatio) {
    throw new VlRewardError(
      "media_aspect_ratio",
      `a picture of ${width} x ${height} pixels has an aspect ratio of ${ratio.toFixed(1)}; at most ${maxAspectRatio} is possible`,
    );
  }
  const rounded = {
    height: Math.max(factor, roundHalfToEven(height / factor) * factor),
    width: Math.max(factor, roundHalfToEven(width / factor) * factor),
  };
  if (rounded.height * rounded.width > maxPixels) {
    const shrink = Math.sqrt((height * width) / maxPixels);
    const smaller = {
      height: Math.floor(height / shrink / factor) * factor,
      width: Math.floor(width / shrink / factor) * factor,
    };
    if (smaller.height > 0 && smaller.width > 0) return smaller;
    throw new VlRewardError(
      "media_options",
      `max_pixels ${maxPixels} leaves less than one token (${factor} pixels) of the shorter side of a picture of ${width} x ${height}; raise max_pixels`,
    );
  }
  if (rounded.height * rounded.width < minPixels) {
    const grow = Math.sqrt(minPixels / (height * width));
    return {
      height: Math.ceil((height * grow) / factor) * factor,
      width: Math.ceil((width * grow) / factor) * factor,
    };
  }
  return rounded;
}

/** Python's `round` and torch's: a half goes to the even neighbour. For numbers that are not negative. */
export function roundHalfToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}
