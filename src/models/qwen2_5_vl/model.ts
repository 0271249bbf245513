/** @file Qwen2.5-VL: the vision tower and the decoder, from tokens and patches to hidden states. */
import { type Embedding, Module } from "../../nn/index.ts";
import { indexCopy, type Tensor, tensorFrom, toDtype } from "../../torch/index.ts";
import type { Qwen25VLConfig } from "./config.ts";
import { LanguageModel } from "./language.ts";
import { VisionTransformer } from "./vision.ts";

/** A conversation as the decoder reads it. */
export interface Sequence {
  readonly ids: Int32Array; // [tokens], a placeholder for each visual token
  readonly positions: Int32Array; // [3, tokens]
  readonly visualPlaces: Int32Array; // [visual tokens], their indices in ids
}

export class Qwen25VL extends Module {
  readonly visual: VisionTransformer;
  readonly model: LanguageModel;

  constructor(config: Qwen25VLConfig) {
    super();
    this.visual = new VisionTransformer(config.vision);
    this.model = new LanguageModel(config.text);
  }

  /**
   * -> the decoder's input [tokens, hidden]: embedded tokens with the features [visual tokens, hidden] in place
   *
   * @param lookUp how rows of the embedding are read
   */
  embed(
    { ids, visualPlaces }: Pick<Sequence, "ids" | "visualPlaces">,
    features: Tensor | undefined,
    lookUp = (embedding: Embedding, rows: Tensor): Tensor => embedding.forward(rows),
  ): Tensor {
    const device = this.model.norm.weight.stored.device;
    const tokens = lookUp(this.model.embedTokens, tensorFrom(ids, [ids.length], "int32", device));
    if (!features) return tokens;
    const places = tensorFrom(BigInt64Array.from(visualPlaces, BigInt), [visualPlaces.length], "int64", device);
    return indexCopy(tokens, 0, places, toDtype(features, tokens.dtype));
  }

  /** -> hidden states after the final norm [tokens, hidden] */
  forward(sequence: Sequence, features: Tensor | undefined): Tensor {
    return this.model.forward(this.embed(sequence, features), sequence.positions);
  }
}

/**
 * The name that this implementation gives a tensor, which is the published checkpoints': transformers from 4.52 on writes
 * "model.language_model." and "model.visual." instead. Applied twice it changes nothing more.
 */
export function publishedName(name: string): string {
  if (name.startsWith("model.language_model.")) return `model.${name.slice("model.language_model.".length)}`;
  if (name.startsWith("model.visual.")) return name.slice("model.".length);
  return name;
}
