/**
 * @file A video, from a file or as a list of frames, to the frames that are cut into patches: `fetch_video` of
 * qwen_vl_utils 0.0.11 with its decord reader, then the second resize of transformers 4.51.3.
 *
 * What the reference raises an error for, or answers by quietly reading the whole file with another reader, is an error
 * here; so are limits that contradict each other where both were given.
 */

import type { VideoPart } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { decodeImage, type RgbImage } from "../../media/image.ts";
import { readImageSize } from "../../media/image-size.ts";
import { mediaName } from "../../media/name.ts";
import { resizeBicubic } from "../../media/resize.ts";
import { type OpenOptions, openMedia, readMedia } from "../../media/source.ts";
import { openVideo } from "../../media/video.ts";
import { clamp, permute, round, scope, tensorFrom, toDtype, traced, upsampleBicubic2dAa } from "../../torch/index.ts";
import { imageSizes, type PixelRange, prepareImage } from "./image-process.ts";
import {
  defaultMaxPixels,
  defaultMinPixels,
  imageFactor,
  roundHalfToEven,
  type Size,
  smartResize,
} from "./smart-resize.ts";

/** Frames that one step in time of the model covers: `temporal_patch_size`. Videos have whole steps. */
const frameFactor = 2;
const defaultFps = 2;
const defaultMinFrames = 4;
const defaultMaxFrames = 768;
const videoMinPixels = 128 * imageFactor ** 2;
const videoMaxPixels = 768 * imageFactor ** 2;
const videoTotalPixels = Math.trunc(128_000 * imageFactor ** 2 * 0.9);

const pictureLimits: PixelRange = { minPixels: defaultMinPixels, maxPixels: defaultMaxPixels };
const noLimits: PixelRange = { minPixels: 0, maxPixels: Number.POSITIVE_INFINITY };

/** What a part says beside the video itself. */
export type VideoOptions = Omit<VideoPart, "type" | "video">;

/** Which frames of a file to read and what size to give them. */
export interface VideoPlan extends Size {
  readonly indices: readonly number[]; // [frames], even in number, ascending, may repeat
  /** Frames a second that the indices amount to. */
  readonly sampleFps: number;
}

/** A video whose frames all have one size, an even number of them. */
export interface PreparedVideo {
  readonly frames: readonly RgbImage[];
  /** Seconds from one step in time to the next: `second_per_grid_ts`. */
  readonly secondsPerGrid: number;
}

/**
 * Plans the reading of a file with `frameCount` frames of `height` x `width`. Throws `media_options` where the options
 * contradict each other or the file, `media_no_frames` where the part that was asked for has fewer than two frames.
 */
export function planVideo(
  frameCount: number,
  averageFps: number,
  height: number,
  width: number,
  options: VideoOptions,
): VideoPlan {
  checkOptions(options);
  const { first, last } = frameRange(frameCount, averageFps, options);
  const available = last - first + 1;
  const count = smartFrameCount(available, averageFps, options);
  const size = frameSize(count, height, width, options);
  return { ...size, indices: spread(first, last, count), sampleFps: (count / available) * averageFps };
}

/**
 * Reads and resizes the frames of a part; `processor` are the limits of preprocessor_config.json. Rejects with the codes
 * of the media room and those of `planVideo`, with the signal's reason when that aborts.
 */
export async function prepareVideo(
  part: VideoPart,
  processor: PixelRange,
  options: OpenOptions,
): Promise<PreparedVideo> {
  const { video } = part;
  return typeof video === "string"
    ? prepareVideoFile(video, part, processor, options)
    : prepareFrameList(video, part, processor, options);
}

/** How many frames a prepared video has and their size, without decoding one. Rejects as `prepareVideo` does. */
export async function measureVideo(
  part: VideoPart,
  processor: PixelRange,
  options: OpenOptions,
): Promise<Size & { readonly frames: number }> {
  const { video } = part;
  if (typeof video !== "string") return measureFrameList(video, part, processor, options);
  const reader = await openVideo(await openMedia(video, options), video, options.policy?.limits.maxPixels);
  try {
    const plan = planVideo(reader.frameCount, reader.averageFps, reader.height, reader.width, part);
    const size = smartResize(plan.height, plan.width, { ...processor, factor: imageFactor });
    return { ...size, frames: plan.indices.length };
  } finally {
    await reader.close();
  }
}

async function measureFrameList(
  list: readonly string[],
  part: VideoOptions,
  processor: PixelRange,
  options: OpenOptions,
): Promise<Size & { readonly frames: number }> {
  checkOptions(part);
  let size: Size | undefined; // the first frame's
  for (const source of list) {
    const image = await readImageSize(await openMedia(source, options), source, options.policy?.limits.maxPixels);
    const { fetched } = imageSizes(image, part, pictureLimits, noLimits);
    size ??= smartResize(fetched.height, fetched.width, { ...processor, factor: imageFactor });
  }
  if (size === undefined) throw noFrames();
  return { ...size, frames: Math.ceil(list.length / frameFactor) * frameFactor };
}

async function prepareVideoFile(
  video: string,
  part: VideoOptions,
  processor: PixelRange,
  options: OpenOptions,
): Promise<PreparedVideo> {
  const name = mediaName(video);
  const source = await traced("fetch", () => openMedia(video, options), [name]);
  const reader = await openVideo(source, video, options.policy?.limits.maxPixels);
  try {
    const plan = planVideo(reader.frameCount, reader.averageFps, reader.height, reader.width, part);
    const final = smartResize(plan.height, plan.width, { ...processor, factor: imageFactor });
    const resize = (frame: RgbImage): RgbImage =>
      resizeBicubic(resizeWithTorch(frame, plan), final.width, final.height);
    const decodeAndResize = async (): Promise<RgbImage[]> => {
      const frames: RgbImage[] = [];
      for await (const frame of reader.frames(plan.indices)) {
        options.signal?.throwIfAborted();
        frames.push(traced("resize", () => resize(frame)));
      }
      return frames;
    };
    const frames = await traced("decode", decodeAndResize, [name]);
    return { frames, secondsPerGrid: frameFactor / plan.sampleFps };
  } finally {
    await reader.close();
  }
}

/**
 * A list of frames: each is resized as a picture is, with a picture's default limits, and takes the size of the first;
 * an odd one out is repeated. The options that choose among a file's frames mean nothing here; `fps` is the list's rate.
 */
async function prepareFrameList(
  list: readonly string[],
  part: VideoOptions,
  processor: PixelRange,
  options: OpenOptions,
): Promise<PreparedVideo> {
  checkOptions(part);
  const frames: RgbImage[] = [];
  let size: Size | undefined; // the first frame's
  for (const source of list) {
    const name = mediaName(source);
    const bytes = await traced("fetch", () => readMedia(source, options), [name]);
    const image = await traced("decode", () => decodeImage(bytes, source, options.policy?.limits.maxPixels), [name]);
    const resize = (): RgbImage => {
      const fetched = prepareImage(image, part, pictureLimits, noLimits);
      size ??= smartResize(fetched.height, fetched.width, { ...processor, factor: imageFactor });
      return resizeBicubic(fetched, size.width, size.height);
    };
    frames.push(traced("resize", resize, [name]));
  }
  const last = frames.at(-1);
  if (last === undefined) throw noFrames();
  if (frames.length % frameFactor !== 0) frames.push(last);
  return { frames, secondsPerGrid: frameFactor / (part.fps ?? defaultFps) };
}

const noFrames = () => new VlRewardError("media_no_frames", "the list of frames of a video is empty");

function checkOptions(options: VideoOptions): void {
  const { fps, nframes, minFrames, maxFrames, minPixels, maxPixels, videoStart, videoEnd } = options;
  const { resizedHeight, resizedWidth } = options;
  if (fps !== undefined && nframes !== undefined) {
    throw contradiction(`both fps (${fps}) and nframes (${nframes}); give one of them`);
  }
  if (fps !== undefined && !(fps > 0)) throw contradiction(`fps ${fps}; it must be greater than 0`);
  if (minFrames !== undefined && maxFrames !== undefined && minFrames > maxFrames) {
    throw contradiction(`min_frames ${minFrames}, more than max_frames ${maxFrames}`);
  }
  if (minPixels !== undefined && maxPixels !== undefined && minPixels > maxPixels) {
    throw contradiction(`min_pixels ${minPixels}, more than max_pixels ${maxPixels}`);
  }
  if (videoStart !== undefined && videoEnd !== undefined && videoStart >= videoEnd) {
    throw contradiction(`video_start ${videoStart}, not before video_end ${videoEnd}`);
  }
  if ((resizedHeight === undefined) !== (resizedWidth === undefined)) {
    const [given, missing] = resizedHeight === undefined ? ["width", "height"] : ["height", "width"];
    throw contradiction(`resized_${given} but no resized_${missing}; give both or neither`);
  }
}

function contradiction(found: string): VlRewardError {
  return new VlRewardError("media_options", `a video has ${found}`);
}

/** Indices of the first and the last frame in the part from `videoStart` to `videoEnd`, in seconds. */
function frameRange(frameCount: number, fps: number, options: VideoOptions): { first: number; last: number } {
  const { videoStart, videoEnd } = options;
  const duration = frameCount / fps;
  const within = (seconds: number): number => Math.max(0, Math.min(seconds, duration));
  const first = videoStart === undefined ? 0 : Math.ceil(within(videoStart) * fps);
  const end = videoEnd === undefined ? frameCount - 1 : Math.floor(within(videoEnd) * fps);
  const last = Math.min(end, frameCount - 1);
  if (last - first + 1 >= frameFactor) return { first, last };
  const found = Math.max(0, last - first + 1);
  const part =
    videoStart === undefined && videoEnd === undefined
      ? "a video"
      : `the part of a video from ${videoStart ?? 0} s to ${videoEnd ?? duration} s`;
  throw new VlRewardError(
    "media_no_frames",
    `${part} has ${found} ${found === 1 ? "frame" : "frames"}, at least ${frameFactor} are needed; the file has ${frameCount} at ${fps} a second, ${duration.toFixed(2)} s`,
  );
}

/** `smart_nframes`: an even number of frames within [2, available]. */
function smartFrameCount(available: number, averageFps: number, options: VideoOptions): number {
  const { fps = defaultFps, nframes, minFrames = defaultMinFrames } = options;
  if (nframes !== undefined) {
    const count = roundHalfToEven(nframes / frameFactor) * frameFactor;
    if (count >= frameFactor && count <= available) return count;
    throw contradiction(
      `nframes ${nframes}, rounded to ${count}; it must lie within ${frameFactor} and its ${available} frames`,
    );
  }
  const { maxFrames = Math.min(defaultMaxFrames, available) } = options;
  const fewest = Math.ceil(minFrames / frameFactor) * frameFactor;
  const most = Math.floor(maxFrames / frameFactor) * frameFactor;
  const wanted = Math.min(Math.max((available / averageFps) * fps, fewest), most, available);
  const count = Math.floor(wanted / frameFactor) * frameFactor;
  if (count >= frameFactor) return count;
  throw contradiction(`max_frames ${maxFrames}; at least ${frameFactor} frames are needed`);
}

/** The size of each frame when `count` of them share the budget. */
function frameSize(count: number, height: number, width: number, options: VideoOptions): Size {
  const { resizedHeight, resizedWidth, minPixels = videoMinPixels, totalPixels = videoTotalPixels } = options;
  if (resizedHeight !== undefined && resizedWidth !== undefined) {
    return smartResize(resizedHeight, resizedWidth, { ...pictureLimits, factor: imageFactor });
  }
  const share = Math.max(Math.min(videoMaxPixels, (totalPixels / count) * frameFactor), Math.trunc(minPixels * 1.05));
  const maxPixels = Math.min(options.maxPixels ?? share, share);
  if (minPixels <= maxPixels) return smartResize(height, width, { minPixels, maxPixels, factor: imageFactor });
  // The part's maximum lies below the default minimum: the reference shrinks what is above the one and enlarges what
  // is below the other.
  const plain = smartResize(height, width, { ...noLimits, factor: imageFactor });
  return plain.height * plain.width > maxPixels
    ? smartResize(height, width, { ...noLimits, maxPixels, factor: imageFactor })
    : smartResize(height, width, { ...noLimits, minPixels, factor: imageFactor });
}

/**
 * `torch.linspace(first, last, count).round()`: in float32, counted from the nearer end, which decides where a position
 * falls between two frames.
 */
function spread(first: number, last: number, count: number): number[] {
  const step = Math.fround((last - first) / (count - 1));
  return Array.from({ length: count }, (_, index) =>
    roundHalfToEven(
      index < count / 2
        ? Math.fround(first + Math.fround(step * index))
        : Math.fround(last - Math.fround(step * (count - 1 - index))),
    ),
  );
}

/** torchvision's antialiased bicubic resize of uint8: through float32, clamped and rounded. */
function resizeWithTorch(image: RgbImage, { height, width }: Size): RgbImage {
  if (image.height === height && image.width === width) return image;
  const data = scope(() => {
    const rows = tensorFrom(image.data, [1, image.height, image.width, 3], "uint8");
    const planes = permute(toDtype(rows, "float32"), [0, 3, 1, 2]);
    const resized = round(clamp(upsampleBicubic2dAa(planes, [height, width], false), 0, 255));
    return toDtype(permute(resized, [0, 2, 3, 1]), "uint8").toTypedArray();
  });
  return { width, height, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}
