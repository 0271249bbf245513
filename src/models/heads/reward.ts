/**
 * @file Reward heads: what turns a hidden state into one number, always in float32 as TRL computes it. A checkpoint's shapes
 * say which kind it has.
 */

import { Module, Parameter, type Placement, silu, steadyRows } from "../../nn/index.ts";
import {
  add,
  cat,
  linear,
  mul,
  mulScalar,
  narrow,
  type Generator as RandomGenerator,
  randn,
  scope,
  sumAlong,
  type Tensor,
  toDtype,
  zeros,
} from "../../torch/index.ts";

/** Its parameters are named "weight" and "bias", or "0.weight" to "2.bias" where it has two layers. */
export abstract class RewardHead extends Module {
  /** Hidden states [n, hidden] -> rewards [n], each with the bits that it has for any other n. */
  abstract forward(hidden: Tensor): Tensor;

  /**
   * Fills it as "Learning to summarize from human feedback" does (arXiv 2009.01325): normally distributed weights of variance
   * 1 / (inputs + 1), so that first rewards are about as large as one hidden value, and no bias.
   */
  initialise(generator: RandomGenerator, place: Placement): void {
    for (const [, parameter] of this.namedParameters()) {
      const { shape } = parameter;
      scope(() => {
        const drawn = shape.length > 1 ? mulScalar(randn(shape, generator), headDeviation(shape)) : undefined;
        parameter.assign(drawn ?? zeros(shape, "float32"), place);
      });
    }
  }
}

/** Of the weights of a new head's matrix [outputs, inputs]. */
export const headDeviation = (shape: readonly number[]): number => 1 / Math.sqrt((shape.at(-1) ?? 0) + 1);

/** `Linear(hidden, 1)` */
class LinearHead extends RewardHead {
  readonly weight: Parameter; // [1, hidden]
  readonly bias?: Parameter; // [1]

  constructor(hidden: number, options: { bias: boolean }) {
    super();
    this.weight = new Parameter([1, hidden], "float32");
    if (options.bias) this.bias = new Parameter([1], "float32");
  }

  /** A sum of products has the same bits for every n, a matmul has not. */
  forward(hidden: Tensor): Tensor {
    const rewards = sumAlong(mul(toDtype(hidden, "float32"), this.weight.value), [-1]);
    return this.bias ? add(rewards, this.bias.value) : rewards;
  }
}

/** `Linear(hidden, width)`, SiLU, `Linear(width, 1)` */
class TwoLayerHead extends RewardHead {
  readonly #first: InnerLayer;
  readonly #last: LinearHead;

  constructor(hidden: number, width: number) {
    super();
    this.#first = new InnerLayer(hidden, width);
    this.#last = new LinearHead(width, { bias: true });
  }

  /** As in PyTorch's Sequential, in which SiLU is number 1. */
  override *namedParameters(prefix = ""): Generator<[name: string, parameter: Parameter]> {
    yield* this.#first.namedParameters(`${prefix}0.`);
    yield* this.#last.namedParameters(`${prefix}2.`);
  }

  /** The first layer's matrix product has as many rows as give each the same bits (src/nn/rows.ts). */
  forward(hidden: Tensor): Tensor {
    const rows = hidden.size(0);
    const missing = steadyRows(rows) - rows;
    const x = toDtype(hidden, "float32");
    const steady = missing > 0 ? cat([x, zeros([missing, x.size(1)], "float32", null, x.device)], 0) : x;
    return narrow(this.#last.forward(silu(this.#first.forward(steady))), 0, 0, rows);
  }
}

/** A linear layer in float32, whatever the model computes in. */
class InnerLayer extends Module {
  readonly weight: Parameter; // [width, hidden]
  readonly bias: Parameter; // [width]

  constructor(hidden: number, width: number) {
    super();
    this.weight = new Parameter([width, hidden], "float32");
    this.bias = new Parameter([width], "float32");
  }

  forward(x: Tensor): Tensor {
    return linear(x, this.weight.value, this.bias.value);
  }
}

/** What a head is like. */
export interface HeadShape {
  /** Of the hidden states. */
  readonly hidden: number;
  /** Between two layers; undefined: there is one. */
  readonly width: number | undefined;
  /** Whether a head of one layer adds a number; one of two layers always does. */
  readonly bias: boolean;
}

export function rewardHead({ hidden, width, bias }: HeadShape): RewardHead {
  return width === undefined ? new LinearHead(hidden, { bias }) : new TwoLayerHead(hidden, width);
}
