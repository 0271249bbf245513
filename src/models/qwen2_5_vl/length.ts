/**
 * @file How many tokens conversations have, without decoding their pictures and videos: sizes come from headers. What it
 * says is what `Processor` will make, and what cannot be prepared is found here first.
 */

import type { ImagePart, Message, PixelLimits, VideoPart } from "../../conversation.ts";
import { mediaName } from "../../media/name.ts";
import { assertMediaAllowed, localPolicy } from "../../media/policy.ts";
import { isRemote, type OpenOptions, openMedia } from "../../media/source.ts";
import { ChatTemplate } from "../../tokenizer/chat-template.ts";
import { tokenizeConversation } from "../../tokenizer/conversation.ts";
import { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { imageSizes, type PixelRange } from "./image-process.ts";
import { loadPreprocessorConfig, type PreprocessorConfig } from "./preprocessor-config.ts";
import { defaultMaxPixels, defaultMinPixels, type Size } from "./smart-resize.ts";
import { visualTokens } from "./window-plan.ts";

/** Tokens of several answers to one prompt. */
export interface Lengths {
  /** Of each conversation, the prompt's included; in the order of the answers. */
  readonly conversations: readonly number[];
  /** Of the prompt once and of what follows it in each conversation: what a pass that shares the prompt computes. */
  readonly shared: number;
}

/** Visual tokens of parts; `undefined` for what lies behind an address, which is not fetched. */
export type VisualTokens = ReadonlyMap<ImagePart | VideoPart, number | undefined>;

export class LengthCounter {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #pictures: PreprocessorConfig;
  readonly #limits: PixelRange;
  readonly #turnStart: number;

  private constructor(tokenizer: Tokenizer, template: ChatTemplate, pictures: PreprocessorConfig, limits: PixelLimits) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#pictures = pictures;
    this.#limits = { minPixels: defaultMinPixels, maxPixels: defaultMaxPixels, ...limits };
    this.#turnStart = tokenizer.controlTokens.get("<|im_start|>") ?? -1;
  }

  /** @param limits for pictures that name none themselves. Rejects with `config_invalid`. */
  static async load(folder: string, limits: PixelLimits): Promise<LengthCounter> {
    const [tokenizer, template] = await Promise.all([Tokenizer.load(folder), ChatTemplate.load(folder)]);
    return new LengthCounter(tokenizer, template, loadPreprocessorConfig(folder), limits);
  }

  /** Looks at each picture and video once. Rejects as `Processor.prepare` does for those whose beginning is damaged. */
  async measure(messages: readonly Message[], options: OpenOptions): Promise<VisualTokens> {
    const tokens = new Map<ImagePart | VideoPart, number | undefined>();
    const parts = mediaParts(messages);
    assertMediaAllowed(parts, options.policy ?? localPolicy);
    for (const part of parts) {
      tokens.set(part, part.type === "image" ? await this.#image(part, options) : await this.#video(part, options));
    }
    return tokens;
  }

  /** Counts the tokens of the conversations that `prefix` makes with each of `answers`; unknown visuals count nothing. */
  count(prefix: readonly Message[], answers: readonly Message[], visuals: VisualTokens): Lengths {
    const encoded = new Map<string, number[]>(); // a stretch that several conversations have is encoded once
    const tokenizer = {
      controlTokens: this.#tokenizer.controlTokens,
      encodeText: (text: string): number[] => {
        const ids = encoded.get(text) ?? this.#tokenizer.encodeText(text);
        encoded.set(text, ids);
        return ids;
      },
    };
    const visualsOf = (messages: readonly Message[]): number =>
      mediaParts(messages).reduce((sum, part) => sum + (visuals.get(part) ?? 1) - 1, 0); // one place is in the text
    const inPrefix = visualsOf(prefix);
    let shared = 0;
    const conversations = answers.map((answer) => {
      const { ids } = tokenizeConversation([...prefix, answer], tokenizer, this.#template);
      const total = ids.length + inPrefix + visualsOf([answer]);
      const branch = ids.length - ids.lastIndexOf(this.#turnStart) - 1 + visualsOf([answer]);
      shared += shared === 0 ? total : branch;
      return total;
    });
    return { conversations, shared };
  }

  async #image(part: ImagePart, options: OpenOptions): Promise<number | undefined> {
    if (isRemote(part.image)) return undefined;
    const { readImageSize } = await import("../../media/image-size.ts");
    const size = await readImageSize(
      await openMedia(part.image, options),
      mediaName(part.image),
      options.policy?.limits.maxPixels,
    );
    return this.#tokensOf(imageSizes(size, part, this.#limits, this.#pictures).prepared, 1);
  }

  async #video(part: VideoPart, options: OpenOptions): Promise<number | undefined> {
    if ([part.video].flat().some(isRemote)) return undefined;
    const { measureVideo } = await import("./video-process.ts");
    const size = await measureVideo(part, this.#pictures, options);
    return this.#tokensOf(size, Math.ceil(size.frames / this.#pictures.temporalPatchSize));
  }

  #tokensOf({ height, width }: Size, t: number): number {
    const { patchSize, mergeSize } = this.#pictures;
    return visualTokens({ t, h: height / patchSize, w: width / patchSize }, mergeSize);
  }
}

function mediaParts(messages: readonly Message[]): (ImagePart | VideoPart)[] {
  return messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.filter((part) => part.type !== "text"),
  );
}
