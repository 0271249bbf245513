/**
 * @file The decoder of Qwen2.5-VL: Qwen2.5 with multimodal rotary positions. Class and property names are those of
 * transformers' modeling_qwen2_5_vl.py and of the published checkpoints.
 */

import type { KeyValues, PackedGroup, PrefixListener, StreamAttention } from "../../nn/attention/packed-attention.ts";
import { attentionOver } from "../../nn/attention/packed-attention-varlen.ts";
import {
  Embedding,
  inverseFrequencies,
  type LayerRunner,
  Linear,
  Module,
  RMSNorm,
  type Rotation,
  rotate,
  rotation,
  runLayers,
  SwiGLU,
} from "../../nn/index.ts";
import { add, indexSelect, reshape, scope, type Tensor, tensorFrom, view } from "../../torch/index.ts";
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

  /** x [tokens, hidden] -> keys, turned, and values [tokens, key/value heads, width] */
  keyValues(x: Tensor, turn: Rotation): KeyValues {
    return { keys: rotate(this.#heads(this.kProj.forward(x)), turn), values: this.#heads(this.vProj.forward(x)) };
  }

  /** x [tokens, hidden] -> queries, turned [tokens, heads, width] */
  queries(x: Tensor, turn: Rotation): Tensor {
    return rotate(this.#heads(this.qProj.forward(x)), turn);
  }

  /** attended [tokens, heads, width] -> [tokens, hidden] */
  output(attended: Tensor): Tensor {
    return this.oProj.forward(reshape(attended, [attended.size(0), -1]));
  }

  #heads(projected: Tensor): Tensor {
    return view(projected, [projected.size(0), -1, this.#headWidth]);
  }
}

/** Turned queries, keys and values [tokens, heads, width] -> what each query gathers, of the queries' shape. */
type Attend = (q: Tensor, k: Tensor, v: Tensor) => Tensor;

/** Some of the tokens: their indices [n] and their rotation. */
interface Rows {
  readonly index: Tensor;
  readonly turn: Rotation;
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

  /**
   * x [tokens, hidden] -> the same
   *
   * @param read only these tokens are read on: [n, hidden] comes back, of the others only keys and values are computed
   */
  forward(x: Tensor, turn: Rotation, attend: Attend, read?: Rows): Tensor {
    // A scope of its own: what attention holds is freed before the MLP begins.
    const mixed = scope(() => {
      const normed = this.inputLayernorm.forward(x);
      const { keys, values } = this.selfAttn.keyValues(normed, turn);
      const rows = (y: Tensor): Tensor => (read ? indexSelect(y, 0, read.index) : y);
      const attended = attend(this.selfAttn.queries(rows(normed), read?.turn ?? turn), keys, values);
      return add(rows(x), this.selfAttn.output(attended));
    });
    return add(mixed, this.mlp.forward(this.postAttentionLayernorm.forward(mixed)));
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
   * The plain forward of one conversation, every token attending to those before it.
   *
   * @param x embeddings [tokens, hidden], pictures in place
   * @param positions [3, tokens] of ropeIndex
   * @returns hidden states after the final norm [tokens, hidden]
   */
  forward(x: Tensor, positions: Int32Array): Tensor {
    return scope(() => {
      const attention = this.attention([{ prefix: { start: 0, length: x.size(0) }, branches: [] }], x);
      return this.forwardAll(x, positions, (layer, q, k, v) => attention.attend(layer, q, k, v));
    });
  }

  /**
   * One pass over many conversations side by side. The last layer computes keys and values for all tokens, everything
   * else only for those that are read.
   *
   * @param x embeddings [tokens, hidden] of the stream
   * @param positions [3, tokens]
   * @param rows the last token of every branch, in the order of the stream
   * @param run how the layers run; what it keeps for later may need what the surrounding scope holds
   * @returns their hidden states after the final norm [rows, hidden]
   */
  forwardPacked(
    x: Tensor,
    positions: Int32Array,
    attention: StreamAttention,
    rows: Int32Array,
    run: LayerRunner = runLayers,
  ): Tensor {
    const turn = this.rotation(positions, x);
    const index = tensorFrom(rows, [rows.length], "int32", x.device);
    const read = {
      index,
      turn: { cos: indexSelect(turn.cos, 0, index), sin: indexSelect(turn.sin, 0, index) },
    };
    const last = this.layers.length - 1;
    const forward = (layer: DecoderLayer, hidden: Tensor, number: number): Tensor =>
      number < last
        ? layer.forward(hidden, turn, (q, k, v) => attention.attend(number, q, k, v))
        : layer.forward(hidden, turn, (q, k, v) => attention.attendLast(number, q, k, v), read);
    return this.norm.forward(run(this.layers, x, forward));
  }

  /**
   * One pass over a stream in which every token is read.
   *
   * @param x embeddings [tokens, hidden]
   * @param positions [3, tokens]
   * @param attend which tokens see each other
   * @param run as in forwardPacked
   * @returns hidden states after the final norm [tokens, hidden]
   */
  forwardAll(
    x: Tensor,
    positions: Int32Array,
    attend: (layer: number, q: Tensor, k: Tensor, v: Tensor) => Tensor,
    run: LayerRunner = runLayers,
  ): Tensor {
    const turn = this.rotation(positions, x);
    const forward = (layer: DecoderLayer, hidden: Tensor, number: number): Tensor =>
      layer.forward(hidden, turn, (q, k, v) => attend(number, q, k, v));
    return this.norm.forward(run(this.layers, x, forward));
  }

  /** What forwardPacked is given for such groups; where `x` is, and in its dtype. Belongs to the surrounding scope. */
  attention(
    groups: readonly PackedGroup[],
    { dtype, device }: { dtype: Tensor["dtype"]; device: string },
    onPrefix?: PrefixListener,
  ): StreamAttention {
    const { hiddenSize, heads } = this.#config;
    return attentionOver(groups, { dtype, device, headWidth: hiddenSize / heads }, onPrefix);
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
