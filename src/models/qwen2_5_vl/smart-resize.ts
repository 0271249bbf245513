/**
 * @file The size that a picture or frame gets before it is cut into patches: `smart_resize` of qwen_vl_utils 0.0.11,
 * which transformers 4.51.3 repeats.
 */
import { VlRewardError } from "../../errors.ts";

/** Visual tokens of the largest picture by default, and beyond which nothing is enlarged. */
const mostTokens = 16_384;

/** The limits of a picture that names none, by the pixels along a side of one visual token. */
export const defaultLimits = (factor: number): { readonly minPixels: number; readonly maxPixels: number } => ({
  minPixels: 4 * factor ** 2,
  maxPixels: mostTokens * factor ** 2,
});

/** The longest side that may be asked for; the reference reduces any to the default limit, and takes its time. */
const longestSide = 65_536;

/** The exact size that a picture's or a video's part asks for, within the library's own limits. Throws `media_options`. */
export function exactSize(height: number, width: number, factor: number): Size {
  for (const [key, side] of [["resized_height", height] as const, ["resized_width", width] as const]) {
    if (side <= longestSide) continue;
    throw new VlRewardError("media_options", `${key} is ${side}; at most ${longestSide} pixels are possible`);
  }
  return smartResize(height, width, { ...defaultLimits(factor), factor });
}

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

/** Whose size is wanted, for errors. */
export interface ResizeSubject {
  /** As a person knows it: a picture that was resized before has its own size here. */
  readonly picture: Size;
  /** What set the limit on the pixels: `max_pixels`, say. */
  readonly limit: string;
  /** What to do where that is too low. */
  readonly remedy: string;
}

/**
 * The size nearest to `height` x `width` within the limits, its aspect ratio kept as well as whole factors allow.
 * Throws `media_aspect_ratio`, or `media_options` where the limits contradict each other, leave nothing or ask for more than
 * any model reads.
 */
export function smartResize(
  height: number,
  width: number,
  { minPixels, maxPixels, factor }: ResizeLimits,
  subject: ResizeSubject = { picture: { height, width }, limit: "max_pixels", remedy: "raise max_pixels" },
): Size {
  const { limit, remedy, picture } = subject;
  const name = `a picture of ${picture.width} x ${picture.height} pixels`;
  if (maxPixels < minPixels) {
    throw new VlRewardError("media_options", `max_pixels is ${maxPixels}, less than min_pixels, which is ${minPixels}`);
  }
  const ratio = Math.max(height, width) / Math.min(height, width);
  if (ratio > maxAspectRatio) {
    const resized = height === picture.height && width === picture.width ? "" : `, resized to ${width} x ${height},`;
    throw new VlRewardError(
      "media_aspect_ratio",
      `${name}${resized} has an aspect ratio of ${ratio.toFixed(1)}; at most ${maxAspectRatio} is possible`,
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
      `${limit}, ${maxPixels}, leaves less than one token (${factor} pixels) of the shorter side of ${name}; ${remedy}`,
    );
  }
  if (rounded.height * rounded.width < minPixels) {
    if (minPixels > mostTokens * factor ** 2) {
      throw new VlRewardError(
        "media_options",
        `min_pixels is ${minPixels}; nothing is enlarged to more than ${mostTokens * factor ** 2} pixels`,
      );
    }
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
