/**
 * @file The decoder of today's language models: pre-norm layers of grouped-query attention with rotary positions, and SwiGLU.
 * Names of properties are those of transformers' Llama, Qwen2 and Qwen3 and of their checkpoints. How positions turn queries
 * and keys is the caller's: it comes in as a rotation.
 */
import { add, indexSelect, reshape, scope, type Tensor, tensorFrom, view } from "../torch/index.ts";
import type { KeyValues, StreamAttention, TokenAttention } from "./attention/packed-attention.ts";
import { Embedding, Linear, RMSNorm, SwiGLU } from "./layers.ts";
import { Module } from "./module.ts";
import { type Rotation, rotate } from "./rope.ts";
import { type LayerRunner, runLayers } from "./stack.ts";

export interface DecoderConfig {
  readonly vocabulary: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headWidth: number;
  readonly normEpsilon: number;
  /** Of the projections to queries, keys and values: Qwen2 has one, Qwen3 and Llama have none. */
  readonly queryKeyValueBias: boolean;
  /** Whether queries and keys are normalised head by head before they are turned, as in Qwen3. */
  readonly queryKeyNorm: boolean;
}

class Attention extends Module {
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly oProj: Linear;
  readonly qNorm?: RMSNorm;
  readonly kNorm?: RMSNorm;
  readonly #headWidth: number;

  constructor(config: DecoderConfig) {
    super();
    const { hidden, heads, keyValueHeads, headWidth, queryKeyValueBias: bias } = config;
    this.#headWidth = headWidth;
    this.qProj = new Linear(hidden, headWidth * heads, { bias });
    this.kProj = new Linear(hidden, headWidth * keyValueHeads, { bias });
    this.vProj = new Linear(hidden, headWidth * keyValueHeads, { bias });
    this.oProj = new Linear(headWidth * heads, hidden, { bias: false });
    if (config.queryKeyNorm) {
      this.qNorm = new RMSNorm(headWidth, config.normEpsilon);
      this.kNorm = new RMSNorm(headWidth, config.normEpsilon);
    }
  }

  /** x [tokens, hidden] -> keys, turned, and values [tokens, key/value heads, width] */
  keyValues(x: Tensor, turn: Rotation): KeyValues {
    const keys = this.#heads(this.kProj.forward(x));
    return { keys: rotate(this.kNorm?.forward(keys) ?? keys, turn), values: this.#heads(this.vProj.forward(x)) };
  }

  /** x [tokens, hidden] -> queries, turned [tokens, heads, width] */
  queries(x: Tensor, turn: Rotation): Tensor {
    const queries = this.#heads(this.qProj.forward(x));
    return rotate(this.qNorm?.forward(queries) ?? queries, turn);
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

  constructor(config: DecoderConfig) {
    super();
    this.inputLayernorm = new RMSNorm(config.hidden, config.normEpsilon);
    this.postAttentionLayernorm = new RMSNorm(config.hidden, config.normEpsilon);
    this.selfAttn = new Attention(config);
    this.mlp = new SwiGLU(config.hidden, config.intermediate, { bias: false });
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

export class Decoder extends Module {
  readonly embedTokens: Embedding;
  readonly layers: readonly DecoderLayer[];
  readonly norm: RMSNorm;

  constructor(config: DecoderConfig) {
    super();
    this.embedTokens = new Embedding(config.vocabulary, config.hidden);
    this.layers = Array.from({ length: config.layers }, () => new DecoderLayer(config));
    this.norm = new RMSNorm(config.hidden, config.normEpsilon);
  }

  /**
   * One pass over a stream in which every token is read.
   *
   * @param x embeddings [tokens, hidden], pictures in place
   * @param turn of every token
   * @param run how the layers run; what it keeps for later may need what the surrounding scope holds
   * @returns hidden states after the final norm [tokens, hidden]
   */
  forwardAll(x: Tensor, turn: Rotation, attention: TokenAttention, run: LayerRunner = runLayers): Tensor {
    const forward = (layer: DecoderLayer, hidden: Tensor, number: number): Tensor =>
      layer.forward(hidden, turn, (q, k, v) => attention.attend(number, q, k, v));
    return this.norm.forward(run(this.layers, x, forward));
  }

  /**
   * As forwardAll, but the last layer computes keys and values for all tokens, everything else only for those that are read.
   *
   * @param rows the last token of every branch, in the order of the stream
   * @returns their hidden states after the final norm [rows, hidden]
   */
  forwardEnds(
    x: Tensor,
    turn: Rotation,
    attention: StreamAttention,
    rows: Int32Array,
    run: LayerRunner = runLayers,
  ): Tensor {
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
}
