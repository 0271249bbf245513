/**
 * @file From a conversation to what the model reads: token ids with a placeholder for each visual token, positions, and the
 * patches of its pictures and videos. The counterpart of Qwen2_5_VLProcessor with qwen_vl_utils in front of it; docs/
 * parity.md lists the deliberate differences.
 */
import { createHash } from "node:crypto";
import type { ImagePart, Message, PixelLimits, VideoPart } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import type { RgbImage } from "../../media/image.ts";
import { mediaName } from "../../media/name.ts";
import { assertMediaAllowed, localPolicy, type MediaPolicy } from "../../media/policy.ts";
import { readMedia } from "../../media/source.ts";
import { ChatTemplate } from "../../tokenizer/chat-template.ts";
import { tokenizeConversation } from "../../tokenizer/conversation.ts";
import { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { traced } from "../../torch/index.ts";
import type { Qwen25VLConfig } from "./config.ts";
import { type PixelRange, prepareImage } from "./image-process.ts";
import { type Frames, framesOf } from "./patches.ts";
import { loadPreprocessorConfig, type PreprocessorConfig } from "./preprocessor-config.ts";
import { ropeIndex, type VisualSpan } from "./rope-index.ts";
import { defaultMaxPixels, defaultMinPixels } from "./smart-resize.ts";
import { visualTokens } from "./window-plan.ts";

/** A picture or video, ready for the vision tower. */
export interface Visual extends Frames {
  /** Names what is seen: a hash of the pixels, of what becomes of them and of a video's pace. Equal keys have equal features. */
  readonly key: string;
  /** Seconds between two temporal patches; 0 for a picture. */
  readonly secondsPerGrid: number;
}

/** A stretch of a conversation's tokens. */
export interface Span {
  readonly ids: Int32Array; // [tokens], a placeholder for each visual token
  readonly positions: Int32Array; // [3, tokens]
  readonly visualPlaces: Int32Array; // [visual tokens], their indices in ids
  /** Which of the group's visuals stand there, in order. */
  readonly visuals: readonly number[];
}

/** Several answers to one prompt, ready for the model: plain values that can be sent to another thread. */
export interface GroupPrompt {
  /**
   * All tokens up to the one that opens the answer's turn, that one included: where it ends depends on nothing in the
   * answers, so a score cannot depend on which answers it was computed beside.
   */
  readonly prefix: Span;
  /** What follows it, for each answer; never empty. */
  readonly branches: readonly Span[];
  readonly visuals: readonly Visual[];
}

/** Pictures that were prepared before, by a key of this room's making. One processor's are no other's. */
export interface PictureCache {
  get(key: string): Visual | undefined;
  set(key: string, picture: Visual, bytes: number): void;
}

export interface PrepareOptions {
  /** What relative paths are relative to. */
  readonly baseFolder: string;
  readonly signal?: AbortSignal;
  /** What may be read; default `localPolicy`. */
  readonly policy?: MediaPolicy;
}

export class Processor {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #pictures: PreprocessorConfig;
  readonly #config: Qwen25VLConfig;
  readonly #limits: PixelRange;
  readonly #known: PictureCache | undefined;
  /** The id of the token that opens a turn. */
  readonly #turnStart: number;

  private constructor(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    pictures: PreprocessorConfig,
    config: Qwen25VLConfig,
    limits: PixelLimits,
    known: PictureCache | undefined,
  ) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#pictures = pictures;
    this.#config = config;
    this.#turnStart = tokenizer.controlTokens.get("<|im_start|>") ?? -1;
    this.#limits = { minPixels: defaultMinPixels, maxPixels: defaultMaxPixels, ...limits };
    this.#known = known;
  }

  /**
   * Reads tokenizer, chat template and preprocessor of a checkpoint folder. Rejects with `config_invalid`.
   *
   * @param limits for pictures that name none themselves
   * @param known keeps pictures, so that one that comes again is neither decoded nor resized; their pixels are not to be
   * given away
   */
  static async load(
    folder: string,
    config: Qwen25VLConfig,
    limits: PixelLimits,
    known?: PictureCache,
  ): Promise<Processor> {
    const [tokenizer, template] = await Promise.all([Tokenizer.load(folder), ChatTemplate.load(folder)]);
    const pictures = loadPreprocessorConfig(folder);
    const { patchSize, spatialMergeSize, temporalPatchSize } = config.vision;
    const [cut, expected] = [
      [pictures.patchSize, pictures.mergeSize, pictures.temporalPatchSize],
      [patchSize, spatialMergeSize, temporalPatchSize],
    ].map(([patch, merge, frames]) => `patches of ${patch} over ${frames} frames, merged by ${merge}`);
    if (cut !== expected) {
      throw new VlRewardError(
        "config_invalid",
        `${folder}: the preprocessor cuts ${cut}, the model expects ${expected}.`,
      );
    }
    return new Processor(tokenizer, template, pictures, config, limits, known);
  }

  /**
   * Prepares the conversations that `prefix` makes with each of `branches`. Each picture is read once. Rejects with the
   * codes of the media room, `media_options` or `sequence_too_long`.
   */
  async prepare(
    prefix: readonly Message[],
    branches: readonly Message[],
    options: PrepareOptions,
  ): Promise<GroupPrompt> {
    const parts = [...new Set(mediaParts([...prefix, ...branches]))];
    assertMediaAllowed(parts, options.policy ?? localPolicy);
    const visuals: Visual[] = [];
    for (const part of parts) visuals.push(await traced("media", () => this.#readVisual(part, options)));
    const conversations = branches.map((branch) => {
      const messages = [...prefix, branch];
      return this.#assemble(
        messages,
        mediaParts(messages).map((part) => parts.indexOf(part)),
        visuals,
      );
    });
    const [first] = conversations;
    if (!first) throw new VlRewardError("empty_candidates", "There are no answers to score; expected at least one.");
    const cut = first.ids.lastIndexOf(this.#turnStart) + 1;
    return {
      prefix: slice(first, 0, cut, visuals, this.#config.vision.spatialMergeSize),
      branches: conversations.map((conversation) =>
        slice(conversation, cut, conversation.ids.length, visuals, this.#config.vision.spatialMergeSize),
      ),
      visuals,
    };
  }

  /** A whole conversation; `used` are the indices of its visuals. */
  #assemble(messages: readonly Message[], used: readonly number[], visuals: readonly Visual[]): Span {
    const { ids, media } = traced("tokenizer", () => tokenizeConversation(messages, this.#tokenizer, this.#template));
    const merge = this.#config.vision.spatialMergeSize;
    const expanded: number[] = [];
    const spans: VisualSpan[] = [];
    const places: number[] = [];
    let copied = 0;
    for (const [index, { position, kind }] of media.entries()) {
      const visual = visuals[used[index] ?? -1];
      if (!visual) continue; // tokenizeConversation has compared the template's places with the parts
      for (; copied < position; copied++) expanded.push(ids[copied] ?? 0);
      spans.push({ start: expanded.length, grid: visual.grid, secondsPerGrid: visual.secondsPerGrid });
      const placeholder = kind === "image" ? this.#config.imageTokenId : this.#config.videoTokenId;
      for (let count = visualTokens(visual.grid, merge); count > 0; count--) {
        places.push(expanded.length);
        expanded.push(placeholder);
      }
      copied = position + 1; // the template's single placeholder stands for all of them
    }
    for (; copied < ids.length; copied++) expanded.push(ids[copied] ?? 0);
    this.#assertFits(expanded.length);
    const { tokensPerSecond } = this.#config.vision;
    return {
      ids: Int32Array.from(expanded),
      positions: ropeIndex(expanded.length, spans, { spatialMergeSize: merge, tokensPerSecond }),
      visualPlaces: Int32Array.from(places),
      visuals: used,
    };
  }

  #assertFits(tokens: number): void {
    const { maxPositions } = this.#config.text;
    if (tokens <= maxPositions) return;
    throw new VlRewardError(
      "sequence_too_long",
      `The conversation has ${tokens} tokens, the model takes ${maxPositions}. Shorten the text, or give pictures a ` +
        "smaller max_pixels and videos fewer frames.",
    );
  }

  /** Decoders are loaded at the first picture or video: text alone starts sooner without them. */
  async #readVisual(part: ImagePart | VideoPart, options: PrepareOptions): Promise<Visual> {
    if (part.type === "image") return this.#readPicture(part, options);
    const { prepareVideo } = await import("./video-process.ts");
    const { frames, secondsPerGrid } = await prepareVideo(part, this.#pictures, options);
    return visualOf(frames, secondsPerGrid, this.#pictures);
  }

  /** A picture is known by its bytes and the limits it comes with: a file that has changed is another picture. */
  async #readPicture(part: ImagePart, options: PrepareOptions): Promise<Visual> {
    const name = mediaName(part.image);
    const bytes = await traced("fetch", () => readMedia(part.image, options), [name]);
    const { minPixels, maxPixels, resizedHeight, resizedWidth } = part;
    const limits = JSON.stringify([minPixels, maxPixels, resizedHeight, resizedWidth]);
    const key = createHash("sha256").update(limits).update(bytes).digest("base64url");
    const known = this.#known?.get(key);
    if (known) return known;
    const { decodeImage } = await import("../../media/image.ts");
    const image = await traced("decode", () => decodeImage(bytes, name, options.policy?.limits.maxPixels), [name]);
    const resized = traced("resize", () => prepareImage(image, part, this.#limits, this.#pictures), [name]);
    const visual = visualOf([resized], 0, this.#pictures);
    this.#known?.set(key, visual, visual.pixels.byteLength + visual.levels.byteLength);
    return visual;
  }
}

function visualOf(images: readonly RgbImage[], secondsPerGrid: number, config: PreprocessorConfig): Visual {
  const frames = framesOf(images, config);
  const { t, h, w } = frames.grid;
  const { imageMean, imageStd, rescaleFactor } = config;
  const key = createHash("sha256")
    .update(JSON.stringify([t, h, w, secondsPerGrid, imageMean, imageStd, rescaleFactor]))
    .update(frames.pixels)
    .digest("base64url");
  return { ...frames, secondsPerGrid, key };
}

/** The tokens of a conversation from `start` to `end`. No visual lies across either. */
function slice(whole: Span, start: number, end: number, visuals: readonly Visual[], merge: number): Span {
  const tokens = whole.ids.length;
  const axes = [0, 1, 2].map((axis) => whole.positions.subarray(axis * tokens + start, axis * tokens + end));
  const positions = new Int32Array(3 * (end - start));
  for (const [axis, values] of axes.entries()) positions.set(values, axis * (end - start));
  const inside = whole.visualPlaces.filter((place) => place >= start && place < end).map((place) => place - start);
  let next = 0; // in visualPlaces
  const used = whole.visuals.filter((index) => {
    const visual = visuals[index];
    const place = whole.visualPlaces[next] ?? 0;
    next += visual ? visualTokens(visual.grid, merge) : 0;
    return place >= start && place < end;
  });
  return { ids: whole.ids.slice(start, end), positions, visualPlaces: inside, visuals: used };
}

function mediaParts(messages: readonly Message[]): (ImagePart | VideoPart)[] {
  return messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.filter((part) => part.type !== "text"),
  );
}
