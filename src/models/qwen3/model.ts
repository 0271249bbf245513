/**
 * @file Qwen3 (arXiv 2505.09388): a decoder for text, in which queries and keys are normalised head by head before they are
 * turned. Positions have one dimension.
 */
import type { StreamAttention, TokenAttention } from "../../nn/attention/packed-attention.ts";
import { Decoder, type Embedding, inverseFrequencies, Module, type Rotation, rotation } from "../../nn/index.ts";
import { type Tensor, tensorFrom } from "../../torch/index.ts";
import type { Backbone, Parts, Recording, Shape, TokenStream, VisionTower } from "../backbone.ts";
import type { Features } from "../features.ts";
import type { Qwen3Config } from "./config.ts";

export class Qwen3 extends Module implements Backbone {
  readonly model: Decoder;
  readonly #config: Qwen3Config;

  constructor(config: Qwen3Config) {
    super();
    this.#config = config;
    this.model = new Decoder({
      ...shapeOf(config).decoder,
      normEpsilon: config.normEpsilon,
      queryKeyValueBias: false,
      queryKeyNorm: true,
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

  get vision(): VisionTower | undefined {
    return undefined;
  }

  forwardAll(stream: TokenStream, _: Features | undefined, attention: TokenAttention, how: Recording): Tensor {
    const x = this.#embed(stream, how);
    return this.model.forwardAll(x, this.rotation(stream.positions, x), attention, how.run);
  }

  forwardEnds(
    stream: TokenStream,
    _: Features | undefined,
    attention: StreamAttention,
    rows: Int32Array,
    how: Recording,
  ): Tensor {
    const x = this.#embed(stream, how);
    return this.model.forwardEnds(x, this.rotation(stream.positions, x), attention, rows, how.run);
  }

  /** @param positions [3, tokens], all rows alike */
  rotation(positions: Int32Array, { dtype, device }: { dtype: Tensor["dtype"]; device: string }): Rotation {
    const { headWidth, ropeTheta } = this.#config;
    const frequencies = inverseFrequencies(headWidth, ropeTheta);
    const tokens = positions.length / 3;
    const angles = new Float32Array(tokens * frequencies.length);
    for (let token = 0; token < tokens; token++) {
      for (const [i, frequency] of frequencies.entries()) {
        angles[token * frequencies.length + i] = (positions[token] ?? 0) * frequency;
      }
    }
    return rotation(angles, frequencies.length, dtype, device);
  }

  #embed({ ids }: TokenStream, { lookUp }: Recording): Tensor {
    const { device } = this.model.norm.weight.stored;
    return lookUp(this.model.embedTokens, tensorFrom(ids, [ids.length], "int32", device));
  }
}

export const shapeOf = (config: Qwen3Config): Shape => ({
  decoder: {
    vocabulary: config.vocabSize,
    hidden: config.hiddenSize,
    intermediate: config.intermediateSize,
    layers: config.layers,
    heads: config.heads,
    keyValueHeads: config.keyValueHeads,
    headWidth: config.headWidth,
    maxPositions: config.maxPositions,
  },
});

const parts: Parts = {
  partOf: () => "decoder",
  isInLayer: (name) => /^model\.layers\.\d+\./.test(name),
  initialScale: () => undefined,
};
