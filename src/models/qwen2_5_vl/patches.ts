/**
 * @file Pixels to patches: the rescaling, normalisation and layout of Qwen2VLImageProcessor (transformers 4.51.3). Pixels
 * are bytes until the vision tower reads them: what is kept, travels between threads and goes to a device is an eighth of
 * the patches for a picture, a quarter for a video.
 */
import type { RgbImage } from "../../media/image.ts";
import {
  add,
  cat,
  type Device,
  indexSelect,
  narrow,
  permute,
  reshape,
  scope,
  type Tensor,
  tensorFrom,
  toDtype,
} from "../../torch/index.ts";
import type { Grid } from "../prompt.ts";
import type { VisionConfig } from "./config.ts";
import type { PreprocessorConfig } from "./preprocessor-config.ts";

/** Frames of one size, and how they become patches. */
export interface Frames {
  readonly pixels: Uint8Array; // [frames, height, width, 3]
  /** What the 256 levels of each channel become. */
  readonly levels: Float32Array; // [3, 256]
  readonly grid: Grid;
}

/** Puts frames of one size together. Their sides must be multiples of patchSize * mergeSize. */
export function framesOf(images: readonly RgbImage[], config: PreprocessorConfig): Frames {
  const { patchSize, temporalPatchSize } = config;
  const [{ width, height } = { width: 0, height: 0 }] = images;
  const pixels = new Uint8Array(images.length * height * width * 3);
  for (const [index, { data }] of images.entries()) pixels.set(data, index * height * width * 3);
  const grid = { t: Math.ceil(images.length / temporalPatchSize), h: height / patchSize, w: width / patchSize };
  return { pixels, levels: normalizedLevels(config), grid };
}

/**
 * Cuts frames into patches. A single frame, a picture, fills every temporal place; of several, the last is repeated until
 * their number is whole.
 *
 * -> [patches of all, 3 * frames * height * width]: unit by unit in rows of units, patches row by row within a unit
 */
export function patchify(
  all: readonly Frames[],
  { patchSize, spatialMergeSize, temporalPatchSize }: VisionConfig,
  device: Device,
): Tensor {
  const size = { patch: patchSize, merge: spatialMergeSize, frames: temporalPatchSize };
  return scope(() => cat(all.map((frames) => scope(() => cut(frames, size, device)), 0)));
}

function cut(
  { pixels, levels, grid: { t, h, w } }: Frames,
  size: { patch: number; merge: number; frames: number },
  device: Device,
): Tensor {
  const { patch, merge } = size;
  const [height, width] = [h * patch, w * patch];
  const count = pixels.length / (3 * height * width);
  const depth = count === 1 ? 1 : size.frames; // a picture's values are looked up once, then repeated
  const given = tensorFrom(pixels, [count, height, width, 3], "uint8", device);
  const frames = lastRepeated(given, 0, t * depth);
  const cells = reshape(frames, [t, depth, h / merge, merge, patch, w / merge, merge, patch, 3]);
  const ordered = toDtype(permute(cells, [0, 2, 5, 3, 6, 8, 1, 4, 7]), "int32");
  const channels = tensorFrom(Int32Array.of(0, 256, 512), [3, 1, 1, 1], "int32", device);
  const places = reshape(add(ordered, channels), [-1]);
  const values = indexSelect(tensorFrom(levels, [3 * 256], "float32", device), 0, places);
  const patches = reshape(values, [t * h * w * 3, depth, patch ** 2]);
  return reshape(lastRepeated(patches, 1, size.frames), [t * h * w, 3 * size.frames * patch ** 2]);
}

/** Lengthens one dimension with copies of what comes last in it. */
function lastRepeated(x: Tensor, dimension: number, length: number): Tensor {
  const present = x.size(dimension);
  if (present === length) return x;
  const last = narrow(x, dimension, present - 1, 1);
  return cat([x, ...new Array<Tensor>(length - present).fill(last)], dimension);
}

/** With the reference's roundings to float32. */
function normalizedLevels({ imageMean, imageStd, rescaleFactor }: PreprocessorConfig): Float32Array {
  const levels = imageMean.flatMap((mean, channel) => {
    const deviation = Math.fround(imageStd[channel] ?? 1);
    const shift = Math.fround(mean);
    return Array.from({ length: 256 }, (_, level) => {
      const rescaled = Math.fround(level * rescaleFactor);
      return Math.fround(rescaled - shift) / deviation;
    });
  });
  return Float32Array.from(levels);
}
