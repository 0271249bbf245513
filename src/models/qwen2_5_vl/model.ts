/** @file Qwen2.5-VL: the vision tower and the decoder, from patches and tokens to hidden states. */

import type { StreamAttention, TokenAttention } from "../../nn/attention/packed-attention.ts";
import {
  Decoder,
  type Embedding,
  inverseFrequencies,
  type LayerRunner,
  Module,
  type Rotation,
  rotation,
} from "../../nn/index.ts";
import { indexCopy, type Tensor, tensorFrom, toDtype } from "../../torch/index.ts";
import type { Backbone, Part, Parts, Recording, Shape, TokenStream, VisionTower } from "../backbone.ts";
import { Features } from "../features.ts";
import type { Visual } from "../prompt.ts";
import type { Qwen25VLConfig } from "./config.ts";
import { patchify } from "./patches.ts";
import { slicesInTime } from "./time-slices.ts";
import { VisionTransformer } from "./vision.ts";

export class Qwen25VL extends Module implements Backbone {
  readonly visual: VisionTransformer;
  readonly model: Decoder;
  readonly #config: Qwen25VLConfig;

  constructor(config: Qwen25VLConfig) {
    super();
    this.#config = config;
    this.visual = new VisionTransformer(config.vision);
    const { text } = config;
    this.model = new Decoder({
      ...shapeOf(config).decoder,
      normEpsilon: text.normEpsilon,
      queryKeyValueBias: true,
      queryKeyNorm: false,
    });
  }

  get shape(): Shape {
    return shapeOf(this.#config);
  }

  get parts(): Parts {
    return parts;
  }

  get embedding(): Embedding {
    return this.model.embedTokens;
  }

  get vision(): VisionTower {
    return {
      identity: JSON.stringify(this.#config.vision),
      featureTensors: 1,
      slices: (visual, patches) => slicesInTime(visual, patches, this.#config.vision),
      encode: (visuals, run) => this.#encode(visuals, run),
      merge: ({ tensors }) => new Features(tensors.map((encoded) => this.visual.merge(encoded))),
    };
  }

  forwardAll(
    stream: TokenStream,
    features: Features | undefined,
    attention: TokenAttention,
    { run, lookUp }: Recording,
  ): Tensor {
    const x = this.embed(stream, features, lookUp);
    return this.model.forwardAll(x, this.rotation(stream.positions, x), attention, run);
  }

  forwardEnds(
    stream: TokenStream,
    features: Features | undefined,
    attention: StreamAttention,
    rows: Int32Array,
    { run, lookUp }: Recording,
  ): Tensor {
    const x = this.embed(stream, features, lookUp);
    return this.model.forwardEnds(x, this.rotation(stream.positions, x), attention, rows, run);
  }

  /** -> the decoder's input [tokens, hidden]: embedded tokens with the features in place */
  embed({ ids, visualPlaces }: TokenStream, features: Features | undefined, lookUp: Recording["lookUp"]): Tensor {
    const device = this.model.norm.weight.stored.device;
    const tokens = lookUp(this.model.embedTokens, tensorFrom(ids, [ids.length], "int32", device));
    const [merged] = features?.tensors ?? [];
    if (!merged) return tokens;
    const places = tensorFrom(BigInt64Array.from(visualPlaces, BigInt), [visualPlaces.length], "int64", device);
    return indexCopy(tokens, 0, places, toDtype(merged, tokens.dtype));
  }

  /** Each frequency turns by the time, the height or the width of a token, as mrope_section deals them out. */
  rotation(positions: Int32Array, { dtype, device }: { dtype: Tensor["dtype"]; device: string }): Rotation {
    const { hiddenSize, heads, ropeTheta, mropeSection } = this.#config.text;
    const frequencies = inverseFrequencies(hiddenSize / heads, ropeTheta);
    const axes = mropeSection.flatMap((pairs, axis) => new Array<number>(pairs).fill(axis));
    const tokens = positions.length / 3;
    const angles = new Float32Array(tokens * frequencies.length);
    for (const [i, frequency] of frequencies.entries()) {
      const offset = (axes[i] ?? 0) * tokens;
      for (let token = 0; token < tokens; token++) {
        angles[token * frequencies.length + i] = (positions[offset + token] ?? 0) * frequency;
      }
    }
    return rotation(angles, frequencies.length, dtype, device);
  }

  #encode(visuals: readonly Visual[], run: LayerRunner): Features {
    const { device } = this.model.norm.weight.stored;
    const grids = visuals.map(({ grid }) => grid);
    return new Features([this.visual.encode(patchify(visuals, this.#config.vision, device), grids, run)]);
  }
}

export function shapeOf({ text, vision }: Qwen25VLConfig): Required<Shape> {
  return {
    decoder: {
      vocabulary: text.vocabSize,
      hidden: text.hiddenSize,
      intermediate: text.intermediateSize,
      layers: text.layers,
      heads: text.heads,
      keyValueHeads: text.keyValueHeads,
      headWidth: text.hiddenSize / text.heads,
      maxPositions: text.maxPositions,
    },
    vision: {
      hidden: vision.hiddenSize,
      intermediate: vision.intermediateSize,
      patchNumbers: 3 * vision.temporalPatchSize * vision.patchSize ** 2,
      patchesPerToken: vision.spatialMergeSize ** 2,
    },
  };
}

const parts: Parts = {
  partOf: (name): Part => {
    if (!name.startsWith("visual.")) return "decoder";
    return name.startsWith("visual.merger.") ? "merger" : "vision";
  },
  isInLayer: (name) => /^(visual\.blocks|model\.layers)\.\d+\./.test(name),
  initialScale: (name) => {
    if (name.startsWith("visual.patch_embed.")) return "pixels";
    return /^visual\.blocks\.\d+\.(attn\.proj|mlp\.down_proj)\.weight$/.test(name) ? "vision output" : undefined;
  },
};

/** The other way: what transformers names a parameter since 4.52, of its published name. */
export const currentName = (name: string): string =>
  name.startsWith("visual.")
    ? `model.${name}`
    : name.replace(/^model\.(?!visual\.|language_model\.)/, "model.language_model.");

/**
 * The name that this implementation gives a tensor, which is the published checkpoints': transformers from 4.52 on writes
 * "model.language_model." and "model.visual." instead. Applied twice it changes nothing more.
 */
export function publishedName(name: string): string {
  if (name.startsWith("model.language_model.")) return `model.${name.slice("model.language_model.".length)}`;
  if (name.startsWith("model.visual.")) return name.slice("model.".length);
  return name;
}
