/**
 * @file The decoder of Qwen2.5-VL: Qwen2.5 with multimodal rotary positions. Class and property names are those of
 * transformers' modeling_qwen2_5_vl.py and of the published checkpoints.
 */
import {
  Embedding,
  inverseFrequencies,
  Linear,
  Module,
  RMSNorm,
  type Rotation,
  rotate,
  rotation,
  runLayers,
  SwiGLU,
} from "../../nn/index.ts";
import {
  add,
  reshape,
  scaledDotProductAttention,
  scope,
  type Tensor,
  transpose,
  unsqueeze,
  view,
} from "../../torch/index.ts";
import type { TextConfig } from "./config.ts";

class Attention extends Module {
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly oProj: Linear;
  readonly #headWidth: number;

  constructor(config: TextConfig) {
    super();
    this.#headWidth = config.hiddenSize / config.heads;
    const keyValueWidth = this.#headWidth * config.keyValueHeads;
    this.qProj = new Linear(config.hiddenSize, config.hiddenSize, { bias: true });
    this.kProj = new Linear(config.hiddenSize, keyValueWidth, { bias: true });
    this.vProj = new Linear(config.hiddenSize, keyValueWidth, { bias: true });
    this.oProj = new Linear(config.hiddenSize, config.hiddenSize, { bias: false });
  }

  /** x [tokens, hidden] -> the same; every token attends to itself and those before it. */
  forward(x: Tensor, turn: Rotation): Tensor {
    const heads = (projected: Tensor): Tensor => view(projected, [x.size(0), -1, this.#headWidth]);
    // [tokens, heads, width] -> [1, heads, tokens, width]
    const batched = (y: Tensor): Tensor => unsqueeze(transpose(y, 0, 1), 0);
    const attended = scaledDotProductAttention(
      batched(rotate(heads(this.qProj.forward(x)), turn)),
      batched(rotate(heads(this.kProj.forward(x)), turn)),
      batched(heads(this.vProj.forward(x))),
      null,
      0,
      true,
      null,
      true,
    );
    return this.oProj.forward(reshape(transpose(attended, 1, 2), x.shape));
  }
}

class DecoderLayer extends Module {
  readonly inputLayernorm: RMSNorm;
  readonly postAttentionLayernorm: RMSNorm;
  readonly selfAttn: Attention;
  readonly mlp: SwiGLU;

  constructor(config: TextConfig) {
    super();
    this.inputLayernorm = new RMSNorm(config.hiddenSize, config.normEpsilon);
    this.postAttentionLayernorm = new RMSNorm(config.hiddenSize, config.normEpsilon);
    this.selfAttn = new Attention(config);
    this.mlp = new SwiGLU(config.hiddenSize, config.intermediateSize, { bias: false });
  }

  /** x [tokens, hidden] -> the same */
  forward(x: Tensor, turn: Rotation): Tensor {
    const attended = add(x, this.selfAttn.forward(this.inputLayernorm.forward(x), turn));
    return add(attended, this.mlp.forward(this.postAttentionLayernorm.forward(attended)));
  }
}

export class LanguageModel extends Module {
  readonly embedTokens: Embedding;
  readonly layers: readonly DecoderLayer[];
  readonly norm: RMSNorm;
  readonly #config: TextConfig;

  constructor(config: TextConfig) {
    super();
    this.#config = config;
    this.embedTokens = new Embedding(config.vocabSize, config.hiddenSize);
    this.layers = Array.from({ length: config.layers }, () => new DecoderLayer(config));
    this.norm = new RMSNorm(config.hiddenSize, config.normEpsilon);
  }

  /**
   * @param x embeddings [tokens, hidden], pictures in place
   * @param positions [3, tokens] of ropeIndex
   * @returns hidden states after the final norm [tokens, hidden]
   */
  forward(x: Tensor, positions: Int32Array): Tensor {
    return scope(() => {
      const turn = this.rotation(positions, x);
      return this.norm.forward(runLayers(this.layers, x, (layer, hidden) => layer.forward(hidden, turn)));
    });
  }

  /** Each frequency turns by the time, the height or the width of a token, as mrope_section deals them out. */
  rotation(positions: Int32Array, { dtype, device }: { dtype: Tensor["dtype"]; device: string }): Rotation {
    const { hiddenSize, heads, ropeTheta, mropeSection } = this.#config;
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
}
