/**
 * @file From a conversation to what the model reads: token ids with a placeholder for each visual token, positions, and the
 * patches of its pictures and videos. The counterpart of Qwen2_5_VLProcessor with qwen_vl_utils in front of it; docs/
 * parity.md lists the deliberate differences.
 */
import { VlRewardError } from "../../errors.ts";
import { decodeImage } from "../../media/image.ts";
import { mediaName } from "../../media/name.ts";
import { readMedia } from "../../media/source.ts";
import { ChatTemplate } from "../../tokenizer/chat-template.ts";
import { tokenizeConversation } from "../../tokenizer/conversation.ts";
import { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { ImagePart, Message, PixelLimits, VideoPart } from "../conversation.ts";
import type { Qwen25VLConfig } from "./config.ts";
import { type PixelRange, prepareImage } from "./image-process.ts";
import type { Sequence } from "./model.ts";
import { type Patches, patchify } from "./patches.ts";
import { loadPreprocessorConfig, type PreprocessorConfig } from "./preprocessor-config.ts";
import { ropeIndex, type VisualSpan } from "./rope-index.ts";
import { defaultMaxPixels, defaultMinPixels } from "./smart-resize.ts";
import { prepareVideo } from "./video-process.ts";
import { visualTokens } from "./window-plan.ts";

/** A picture or video, ready for the vision tower. */
export interface Visual extends Patches {
  /** Seconds between two temporal patches; 0 for a picture. */
  readonly secondsPerGrid: number;
}

/** One conversation, ready for the model. */
export interface Prompt {
  readonly sequence: Sequence;
  /** In the order of their tokens. Prompts made together share the visuals that they have in common. */
  readonly visuals: readonly Visual[];
}

export interface PrepareOptions {
  /** What relative paths are relative to. */
  readonly baseFolder: string;
  readonly signal?: AbortSignal;
}

export class Processor {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #pictures: PreprocessorConfig;
  readonly #config: Qwen25VLConfig;
  readonly #limits: PixelRange;

  private constructor(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    pictures: PreprocessorConfig,
    config: Qwen25VLConfig,
    limits: PixelLimits,
  ) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#pictures = pictures;
    this.#config = config;
    this.#limits = { minPixels: defaultMinPixels, maxPixels: defaultMaxPixels, ...limits };
  }

  /**
   * Reads tokenizer, chat template and preprocessor of a checkpoint folder. Rejects with `config_invalid`.
   *
   * @param limits for pictures that name none themselves
   */
  static async load(folder: string, config: Qwen25VLConfig, limits: PixelLimits): Promise<Processor> {
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
    return new Processor(tokenizer, template, pictures, config, limits);
  }

  /**
   * Prepares one prompt for each branch: the conversation `prefix` followed by it. A picture of the prefix is read once.
   * Rejects with the codes of the media room, `media_options` or `sequence_too_long`.
   */
  async prepare(prefix: readonly Message[], branches: readonly Message[], options: PrepareOptions): Promise<Prompt[]> {
    const read = new Map<ImagePart | VideoPart, Visual>();
    for (const part of mediaParts([...prefix, ...branches])) {
      if (!read.has(part)) read.set(part, await this.#readVisual(part, options));
    }
    return branches.map((branch) => {
      const messages = [...prefix, branch];
      const visuals = mediaParts(messages)
        .map((part) => read.get(part))
        .filter((visual) => visual !== undefined);
      return this.#assemble(messages, visuals);
    });
  }

  #assemble(messages: readonly Message[], visuals: readonly Visual[]): Prompt {
    const { ids, media } = tokenizeConversation(messages, this.#tokenizer, this.#template);
    if (media.length !== visuals.length) {
      throw new VlRewardError(
        "config_invalid",
        `The chat template gave ${media.length} places for ${visuals.length} pictures and videos.`,
      );
    }
    const merge = this.#config.vision.spatialMergeSize;
    const expanded: number[] = [];
    const spans: VisualSpan[] = [];
    const places: number[] = [];
    let copied = 0;
    for (const [index, { position, kind }] of media.entries()) {
      const visual = visuals[index];
      if (!visual) continue;
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
      sequence: {
        ids: Int32Array.from(expanded),
        positions: ropeIndex(expanded.length, spans, { spatialMergeSize: merge, tokensPerSecond }),
        visualPlaces: Int32Array.from(places),
      },
      visuals,
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

  async #readVisual(part: ImagePart | VideoPart, options: PrepareOptions): Promise<Visual> {
    if (part.type === "video") {
      const { frames, secondsPerGrid } = await prepareVideo(part, this.#pictures, options);
      return { ...patchify(frames, this.#pictures), secondsPerGrid };
    }
    const image = await decodeImage(await readMedia(part.image, options), mediaName(part.image));
    const resized = prepareImage(image, part, this.#limits, this.#pictures);
    return { ...patchify([resized], this.#pictures), secondsPerGrid: 0 };
  }
}

function mediaParts(messages: readonly Message[]): (ImagePart | VideoPart)[] {
  return messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.filter((part) => part.type !== "text"),
  );
}
