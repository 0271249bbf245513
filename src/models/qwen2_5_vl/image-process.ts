/**
 * @file A decoded picture to the one that is cut into patches.
 *
 * The reference resizes twice: `fetch_image` of qwen_vl_utils by the part's limits, then Qwen2VLImageProcessor by those
 * of the checkpoint's preprocessor. The second one changes nothing but where the two sets of limits disagree, and then
 * it resamples the resized picture, not the original.
 */

import type { ImagePart } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import type { RgbImage } from "../../media/image.ts";
import { resizeBicubic } from "../../media/resize.ts";
import { exactSize, type ResizeLimits, type Size, smartResize } from "./smart-resize.ts";

export interface PixelRange {
  readonly minPixels: number;
  readonly maxPixels: number;
}

/** What a part says of its size. */
export type PartSize = Pick<ImagePart, "minPixels" | "maxPixels" | "resizedHeight" | "resizedWidth">;

/**
 * Resizes a picture as the reference does. `defaults` are the limits of a part that names none (the command line's, else
 * qwen_vl_utils'); `processor` those of preprocessor_config.json, with the pixels along a side of one visual token. Throws `media_aspect_ratio` and `media_options`.
 */
export function prepareImage(image: RgbImage, part: PartSize, defaults: PixelRange, processor: ResizeLimits): RgbImage {
  const { fetched, prepared } = imageSizes(image, part, defaults, processor);
  return resizeTo(resizeTo(image, fetched), prepared);
}

/** What `prepareImage` makes of a picture of this size: after the first resize, and after the second. Throws as it does. */
export function imageSizes(
  image: Size,
  part: PartSize,
  defaults: PixelRange,
  processor: ResizeLimits,
): { readonly fetched: Size; readonly prepared: Size } {
  const fetched = fetchedSize(image, part, defaults, processor.factor);
  const subject = {
    picture: image,
    limit: "the model's own max_pixels",
    remedy: "no option raises it, crop the picture",
  };
  return { fetched, prepared: smartResize(fetched.height, fetched.width, processor, subject) };
}

/** The size that `fetch_image` gives. An exact size is rounded to tokens by the library's own limits, not the part's. */
function fetchedSize(image: Size, part: PartSize, defaults: PixelRange, factor: number): Size {
  const { resizedHeight, resizedWidth } = part;
  if (resizedHeight !== undefined && resizedWidth !== undefined) {
    return exactSize(resizedHeight, resizedWidth, factor);
  }
  if (resizedHeight !== undefined || resizedWidth !== undefined) {
    const [given, missing] =
      resizedHeight === undefined ? ["resized_width", "resized_height"] : ["resized_height", "resized_width"];
    throw new VlRewardError("media_options", `a picture has ${given} but no ${missing}; give both or neither`);
  }
  const { minPixels = defaults.minPixels, maxPixels = defaults.maxPixels } = part;
  const [limit, remedy] =
    part.maxPixels === undefined
      ? ["--max-pixels", "raise --max-pixels, or give the picture a max_pixels of its own"]
      : ["max_pixels", "raise max_pixels"];
  return smartResize(image.height, image.width, { minPixels, maxPixels, factor }, { picture: image, limit, remedy });
}

function resizeTo(image: RgbImage, { height, width }: Size): RgbImage {
  return resizeBicubic(image, width, height);
}
