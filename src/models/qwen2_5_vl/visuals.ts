/**
 * @file What Qwen2.5-VL makes of pictures and videos: the counterpart of Qwen2VLImageProcessor with qwen_vl_utils in front of it;
 * docs/parity.md lists the deliberate differences.
 */
import { createHash } from "node:crypto";
import type { ImagePart, PixelLimits, VideoPart } from "../../conversation.ts";
import type { RgbImage } from "../../media/image.ts";
import { mediaName } from "../../media/name.ts";
import { type OpenOptions, openMedia, readMedia } from "../../media/source.ts";
import type { Placeholders } from "../../tokenizer/conversation.ts";
import { traced } from "../../torch/index.ts";
import type {
  OpenedVisual,
  PictureCache,
  ProcessorOptions,
  VisualPart,
  VisualReader,
  VisualSize,
} from "../processor.ts";
import type { Visual } from "../prompt.ts";
import type { Qwen25VLConfig } from "./config.ts";
import { imageSizes, type PixelRange, prepareImage } from "./image-process.ts";
import { framesOf } from "./patches.ts";
import type { PreprocessorConfig } from "./preprocessor-config.ts";
import { ropeIndex } from "./rope-index.ts";
import { defaultLimits, frameFactor, type Size } from "./smart-resize.ts";

export class Qwen25VLVisuals implements VisualReader {
  readonly placeholders: Placeholders = new Map([
    ["<|image_pad|>", "image"],
    ["<|video_pad|>", "video"],
  ]);
  readonly #config: Qwen25VLConfig;
  readonly #pictures: PreprocessorConfig;
  readonly #limits: PixelRange;
  readonly #known: PictureCache | undefined;

  constructor(config: Qwen25VLConfig, pictures: PreprocessorConfig, { limits, known }: ProcessorOptions) {
    this.#config = config;
    this.#pictures = pictures;
    this.#limits = { ...defaultLimits(pictures.factor), ...defined(limits) };
    this.#known = known;
  }

  placeholder(kind: VisualPart["type"]): number {
    return kind === "image" ? this.#config.imageTokenId : this.#config.videoTokenId;
  }

  positions(tokens: number, visuals: readonly { readonly start: number; readonly visual: Visual }[]): Int32Array {
    const { spatialMergeSize, tokensPerSecond } = this.#config.vision;
    const spans = visuals.map(({ start, visual: { grid, secondsPerGrid } }) => ({ start, grid, secondsPerGrid }));
    return ropeIndex(tokens, spans, { spatialMergeSize, tokensPerSecond });
  }

  open(part: VisualPart, options: OpenOptions): Promise<OpenedVisual> {
    return part.type === "image" ? this.#openPicture(part, options) : this.#openVideo(part, options);
  }

  /** A picture is known by its bytes and the limits it comes with: a file that has changed is another picture. */
  async #openPicture(part: ImagePart, options: OpenOptions): Promise<OpenedVisual> {
    const name = mediaName(part.image);
    const source = await traced("fetch", () => openMedia(part.image, options), [name]);
    const { readImageSize } = await import("../../media/image-size.ts");
    const mostPixels = options.policy?.limits.maxPixels;
    const size = await readImageSize(source, part.image, mostPixels);
    const { prepared } = imageSizes(size, part, this.#limits, this.#pictures);
    return {
      size: this.#sizeOf(prepared, 1, size.height * size.width),
      read: async () => {
        const bytes = source.kind === "bytes" ? source.bytes : await readMedia(part.image, options);
        return this.#readPicture(bytes, part, mostPixels);
      },
      close: async () => {},
    };
  }

  /** Decoders are loaded at the first picture or video: text alone starts sooner without them. */
  async #readPicture(bytes: Uint8Array, part: ImagePart, mostPixels?: number): Promise<Visual> {
    const { minPixels, maxPixels, resizedHeight, resizedWidth } = part;
    const limits = JSON.stringify([minPixels, maxPixels, resizedHeight, resizedWidth]);
    const key = createHash("sha256").update(limits).update(bytes).digest("base64url");
    const known = this.#known?.get(key);
    if (known) return known;
    const { decodeImage } = await import("../../media/image.ts");
    const name = mediaName(part.image);
    const image = await traced("decode", () => decodeImage(bytes, part.image, mostPixels), [name]);
    const resized = traced("resize", () => prepareImage(image, part, this.#limits, this.#pictures), [name]);
    const visual = this.#visualOf([resized], 0);
    this.#known?.set(key, visual, visual.pixels.byteLength + visual.levels.byteLength);
    return visual;
  }

  async #openVideo(part: VideoPart, options: OpenOptions): Promise<OpenedVisual> {
    const { openVideoPart } = await import("./video-process.ts");
    const video = await openVideoPart(part, this.#pictures, options);
    return {
      size: this.#sizeOf(video, video.frames / frameFactor, video.decodedPixels),
      read: async () => {
        const { frames, secondsPerGrid } = await video.read();
        return this.#visualOf(frames, secondsPerGrid);
      },
      close: () => video.close(),
    };
  }

  /**
   * @param t steps in time
   * @param decodedPixels of the picture or frame that is decoded at a time
   */
  #sizeOf({ height, width }: Size, t: number, decodedPixels: number): VisualSize {
    const { patchSize, mergeSize, temporalPatchSize } = this.#pictures;
    const frames = t === 1 ? 1 : t * temporalPatchSize;
    // Three bytes a pixel: of what is decoded, of the frames as they are resized, and of all of them put together.
    const bytes = 3 * (decodedPixels + 2 * frames * height * width);
    return { tokens: (t * height * width) / (patchSize * mergeSize) ** 2, bytes };
  }

  #visualOf(images: readonly RgbImage[], secondsPerGrid: number): Visual {
    const frames = framesOf(images, this.#pictures);
    const { t, h, w } = frames.grid;
    const { imageMean, imageStd, rescaleFactor, mergeSize } = this.#pictures;
    const key = createHash("sha256")
      .update(JSON.stringify([t, h, w, secondsPerGrid, imageMean, imageStd, rescaleFactor]))
      .update(frames.pixels)
      .digest("base64url");
    return { ...frames, secondsPerGrid, key, patches: t * h * w, tokens: (t * h * w) / mergeSize ** 2 };
  }
}

const defined = (limits: PixelLimits): PixelLimits =>
  Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
