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
import { localPolicy } from "../../media/policy.ts";
import { resizeBicubic } from "../../media/resize.ts";
import { type OpenOptions, openMedia, readMedia } from "../../media/source.ts";
import { openVideo } from "../../media/video.ts";
import { clamp, permute, round, scope, tensorFrom, toDtype, traced, upsampleBicubic2dAa } from "../../torch/index.ts";
import { imageSizes, type PixelRange, prepareImage } from "./image-process.ts";
import {
  defaultLimits,
  exactSize,
  frameFactor,
  type ResizeLimits,
  roundHalfToEven,
  type Size,
  smartResize,
} from "./smart-resize.ts";

const defaultFps = 2;
const defaultMinFrames = 4;
const defaultMaxFrames = 768;

/** In visual tokens: of one frame, and of all of them together. */
const videoTokens = { fewest: 128, most: 768, total: 128_000 };

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
 * Plans the reading of a file with `frameCount` frames of `height` x `width`; sides become multiples of `factor`. Throws
 * `media_options` where the options contradict each other or the file, `media_no_frames` where the part that was asked for
 * has fewer than two frames.
 */
export function planVideo(
  frameCount: number,
  averageFps: number,
  height: number,
  width: number,
  options: VideoOptions,
  factor: number,
): VideoPlan {
  checkOptions(options);
  if (frameCount === 1 && (options.nframes ?? frameFactor) === frameFactor) {
    // The reference refuses it; a list of one picture it takes twice, and so is this taken.
    const size = frameSize(frameFactor, height, width, options, factor);
    return { ...size, indices: [0, 0], sampleFps: frameFactor * averageFps };
  }
  const { first, last } = frameRange(frameCount, averageFps, options);
  const available = last - first + 1;
  const count = smartFrameCount(available, averageFps, options);
  const size = frameSize(count, height, width, options, factor);
  const tokens = (count / frameFactor) * ((size.height * size.width) / factor ** 2);
  if (tokens > 2 * videoTokens.total) {
    throw contradiction(
      `${count} frames of ${size.width} x ${size.height} pixels, ${tokens} tokens; at most ${2 * videoTokens.total} are read`,
    );
  }
  return { ...size, indices: spread(first, last, count), sampleFps: (count / available) * averageFps };
}

/** A video whose headers have been read. */
export interface OpenedVideo extends Size {
  readonly frames: number;
  /** Of the largest picture that is decoded on the way. */
  readonly decodedPixels: number;
  read(): Promise<PreparedVideo>;
  close(): Promise<void>;
}

/**
 * Opens the file or the frames of a part, and decodes nothing yet; `processor` are the limits of preprocessor_config.json.
 * Rejects with the codes of the media room and those of `planVideo`, with the signal's reason when that aborts; so does `read`.
 */
export async function openVideoPart(
  part: VideoPart,
  processor: ResizeLimits,
  options: OpenOptions,
): Promise<OpenedVideo> {
  const { video } = part;
  return typeof video === "string"
    ? openVideoFile(video, part, processor, options)
    : openFrameList(video, part, processor, options);
}

async function openVideoFile(
  video: string,
  part: VideoOptions,
  processor: ResizeLimits,
  options: OpenOptions,
): Promise<OpenedVideo> {
  const name = mediaName(video);
  const source = await traced("fetch", () => openMedia(video, options), [name]);
  const reader = await openVideo(source, video, options.policy?.limits);
  try {
    const { frameCount, averageFps, height, width } = reader;
    const plan = planVideo(frameCount, averageFps, height, width, part, processor.factor);
    const { maxFrames } = (options.policy ?? localPolicy).limits;
    if (plan.indices.length > maxFrames) throw tooManyFrames(name, plan.indices.length, maxFrames);
    const subject = { picture: { height, width }, limit: "the model's own max_pixels", remedy: "crop the video" };
    const final = smartResize(plan.height, plan.width, processor, subject);
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
    return {
      ...final,
      frames: plan.indices.length,
      decodedPixels: height * width,
      read: async () => ({
        frames: await traced("decode", decodeAndResize, [name]),
        secondsPerGrid: frameFactor / plan.sampleFps,
      }),
      close: () => reader.close(),
    };
  } catch (error) {
    await reader.close();
    throw error;
  }
}

const tooManyFrames = (name: string, found: number, most: number): VlRewardError =>
  new VlRewardError(
    "media_too_large",
    `${name}: ${found} of its frames would be read, and the media policy allows ${most}; lower fps or nframes`,
  );

/**
 * A list of frames: each is resized as a picture is, with a picture's default limits, and takes the size of the first;
 * an odd one out is repeated. The options that choose among a file's frames mean nothing here; `fps` is the list's rate.
 */
async function openFrameList(
  list: readonly string[],
  part: VideoOptions,
  processor: ResizeLimits,
  options: OpenOptions,
): Promise<OpenedVideo> {
  checkOptions(part);
  const { factor } = processor;
  const unlimited = { ...noLimits, factor };
  let size: Size | undefined; // the first frame's
  let decodedPixels = 0;
  for (const source of list) {
    const image = await readImageSize(await openMedia(source, options), source, options.policy?.limits.maxPixels);
    const { fetched } = imageSizes(image, part, defaultLimits(factor), unlimited);
    size ??= smartResize(fetched.height, fetched.width, processor);
    decodedPixels = Math.max(decodedPixels, image.height * image.width);
  }
  if (size === undefined) throw new VlRewardError("media_no_frames", "the list of frames of a video is empty");
  const { height, width } = size;
  const readFrame = async (source: string): Promise<RgbImage> => {
    const name = mediaName(source);
    const bytes = await traced("fetch", () => readMedia(source, options), [name]);
    const image = await traced("decode", () => decodeImage(bytes, source, options.policy?.limits.maxPixels), [name]);
    const resized = (): RgbImage =>
      resizeBicubic(prepareImage(image, part, defaultLimits(factor), unlimited), width, height);
    return traced("resize", resized, [name]);
  };
  return {
    height,
    width,
    frames: Math.ceil(list.length / frameFactor) * frameFactor,
    decodedPixels,
    read: async () => {
      const frames: RgbImage[] = [];
      for (const source of list) frames.push(await readFrame(source));
      const last = frames.at(-1);
      if (last && frames.length % frameFactor !== 0) frames.push(last);
      return { frames, secondsPerGrid: frameFactor / (part.fps ?? defaultFps) };
    },
    close: async () => {},
  };
}

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
function frameSize(count: number, height: number, width: number, options: VideoOptions, factor: number): Size {
  const tokenPixels = factor ** 2;
  const { resizedHeight, resizedWidth } = options;
  const { minPixels = videoTokens.fewest * tokenPixels } = options;
  const { totalPixels = Math.trunc(videoTokens.total * tokenPixels * 0.9) } = options;
  if (resizedHeight !== undefined && resizedWidth !== undefined) {
    return exactSize(resizedHeight, resizedWidth, factor);
  }
  const most = videoTokens.most * tokenPixels;
  const share = Math.max(Math.min(most, (totalPixels / count) * frameFactor), Math.trunc(minPixels * 1.05));
  const maxPixels = Math.min(options.maxPixels ?? share, share);
  if (minPixels <= maxPixels) return smartResize(height, width, { minPixels, maxPixels, factor });
  // The part's maximum lies below the default minimum: the reference shrinks what is above the one and enlarges what
  // is below the other.
  const plain = smartResize(height, width, { ...noLimits, factor });
  return plain.height * plain.width > maxPixels
    ? smartResize(height, width, { ...noLimits, maxPixels, factor })
    : smartResize(height, width, { ...noLimits, minPixels, factor });
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
