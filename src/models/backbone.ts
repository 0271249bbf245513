/**
 * @file What the engine and training need of a backbone, whatever its family: its shape, its parts, and two functions, from
 * pictures to features and from a stream of tokens to hidden states. A family is a folder beside this file; family.ts alone
 * knows which there are.
 */
import type { StreamAttention, TokenAttention } from "../nn/attention/packed-attention.ts";
import { type Embedding, type LayerRunner, type Module, runLayers } from "../nn/index.ts";
import type { Tensor } from "../torch/index.ts";
import type { Features } from "./features.ts";
import type { Visual } from "./prompt.ts";

/** The decoder's widths: what a token takes and what threads are worth follows from them. */
export interface DecoderShape {
  readonly vocabulary: number;
  readonly hidden: number;
  readonly intermediate: number; // of the MLP
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headWidth: number;
  /** Tokens of a conversation at most. */
  readonly maxPositions: number;
}

/** The vision tower's widths. */
export interface VisionShape {
  readonly hidden: number;
  readonly intermediate: number;
  /** Numbers that a patch is cut into. */
  readonly patchNumbers: number;
  /** Patches that become one visual token. */
  readonly patchesPerToken: number;
}

/** Plain data. */
export interface Shape {
  readonly decoder: DecoderShape;
  /** Absent where the family reads text alone. */
  readonly vision?: VisionShape;
}

/** How a pass records what its backward pass needs. */
export interface Recording {
  readonly run: LayerRunner;
  /** How rows of the embedding are read. */
  readonly lookUp: (embedding: Embedding, rows: Tensor) => Tensor;
}

/** For passes without a backward pass. */
export const unrecorded: Recording = { run: runLayers, lookUp: (embedding, rows) => embedding.forward(rows) };

/** The tokens of a pass, side by side. */
export interface TokenStream {
  readonly ids: Int32Array; // [tokens], a placeholder for each visual token
  readonly positions: Int32Array; // [3, tokens]
  readonly visualPlaces: Int32Array; // [visual tokens], their indices in ids
}

/** What sees pictures. Rows come in the order of the pictures, and within one in an order of the family's own. */
export interface VisionTower {
  /** Whatever decides what features are, beside weights, pixels and the machine: text to compare. */
  readonly identity: string;
  /** How many tensors its features are. */
  readonly featureTensors: number;
  /**
   * Cuts a video where its parts do not see each other: their features, one below the other, are the video's. Of at most so many
   * patches where that can be; a picture stays whole. Their pixels are the video's own memory.
   */
  slices(visual: Visual, patches: number): readonly Visual[];
  /** -> what the merger reads: a row for each patch */
  encode(visuals: readonly Visual[], run: LayerRunner): Features;
  /** -> what the decoder reads: a row for each visual token. Row by row: pictures need not be those of one `encode`. */
  merge(encoded: Features): Features;
}

/** A part of a model that is trained or frozen as one. */
export type Part = "vision" | "merger" | "decoder";

/** What a parameter is by its name. */
export interface Parts {
  partOf(parameter: string): Part;
  /** Whether it belongs to one of the layers that the part repeats, not to what stands before or behind them. */
  isInLayer(parameter: string): boolean;
  /** Whether it is a matrix whose first values are scaled: what reads pixels, or a vision layer's last one before its sum. */
  initialScale(parameter: string): "pixels" | "vision output" | undefined;
}

export interface Backbone extends Module {
  readonly shape: Shape;
  readonly parts: Parts;
  readonly vision: VisionTower | undefined;
  /** Of the vocabulary; the language head as well where the two are tied. */
  readonly embedding: Embedding;
  /**
   * Hidden states of all tokens.
   *
   * @param features of the pictures at visualPlaces, in their order [visual tokens, ...]
   * @returns after the final norm [tokens, hidden]
   */
  forwardAll(stream: TokenStream, features: Features | undefined, attention: TokenAttention, how: Recording): Tensor;
  /**
   * Hidden states of the last tokens of branches: the last layer computes keys and values for all tokens, everything else only
   * for those.
   *
   * @param attention knows the branches
   * @param rows their last tokens, in the order of the stream, and padding
   * @returns after the final norm [rows, hidden]
   */
  forwardEnds(
    stream: TokenStream,
    features: Features | undefined,
    attention: StreamAttention,
    rows: Int32Array,
    how: Recording,
  ): Tensor;
}
