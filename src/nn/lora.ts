/**
 * @file Low-rank updates of linear layers (Hu et al., arXiv 2106.09685): y = W x + (alpha / rank) B A x with W frozen. At
 * first A is random and B zero, so nothing changes; scaling, initialisation and dropout are those of PEFT.
 */
import {
  add,
  addScalarInto,
  bernoulliInto,
  empty,
  Generator,
  linear,
  matmul,
  mul,
  mulScalar,
  rand,
  scope,
  type Tensor,
  toDevice,
  toDtype,
  zeros,
} from "../torch/index.ts";
import { Module } from "./module.ts";
import { Parameter, type Placement } from "./parameter.ts";

export interface LoraOptions {
  readonly rank: number;
  readonly alpha: number;
  /** How much of the input is dropped, and the rest enlarged, while `dropoutSeed` is set. */
  readonly dropout: number;
}

/** Seeds of passes are below 2^32, so that each update can draw from a seed of its own. */
const updatesPerSeed = 2 ** 20;

export class LowRankUpdate extends Module {
  readonly a: Parameter; // [rank, inputs]
  readonly b: Parameter; // [outputs, rank]
  /**
   * Set for a training pass, to a whole number below 2^32 that tells it from others: the pass, and its recomputation, then
   * drop the same. The masks are drawn on the CPU. Undefined: nothing is dropped.
   */
  dropoutSeed: number | undefined;
  readonly #scaling: number;
  readonly #dropout: number;
  readonly #index: number;

  /** @param index tells this update from the model's others */
  constructor([outputs, inputs]: readonly [number, number], { rank, alpha, dropout }: LoraOptions, index: number) {
    super();
    this.a = new Parameter([rank, inputs]);
    this.b = new Parameter([outputs, rank]);
    this.#scaling = alpha / rank;
    this.#dropout = dropout;
    this.#index = index;
  }

  /** Makes an update that changes nothing: A uniform in ±1 / sqrt(inputs), B zero. */
  initialise(generator: Generator, place: Placement): void {
    const bound = 1 / Math.sqrt(this.a.shape[1] ?? 1);
    scope(() => {
      const uniform = addScalarInto(rand(this.a.shape, generator), -0.5);
      this.a.assign(mulScalar(uniform, 2 * bound), place);
      this.b.assign(zeros(this.b.shape, "float32"), place);
    });
  }

  /** x [..., inputs] -> what is added to the layer's output [..., outputs] */
  forward(x: Tensor): Tensor {
    return mulScalar(linear(linear(this.#dropped(x), this.a.value), this.b.value), this.#scaling);
  }

  /**
   * weight [outputs, inputs] -> the weight with the update in it, in float32
   *
   * @param a, b in place of the update's own, for instance in a higher precision
   */
  merged(weight: Tensor, a = this.a.stored, b = this.b.stored): Tensor {
    return scope(() => {
      const product = matmul(toDtype(b, "float32"), toDtype(a, "float32"));
      return add(toDtype(weight, "float32"), mulScalar(product, this.#scaling));
    });
  }

  #dropped(x: Tensor): Tensor {
    if (this.dropoutSeed === undefined || this.#dropout === 0) return x;
    using generator = new Generator(this.dropoutSeed * updatesPerSeed + this.#index);
    const kept = bernoulliInto(empty(x.shape, "float32"), 1 - this.#dropout, generator);
    return mul(x, toDevice(mulScalar(kept, 1 / (1 - this.#dropout)), x.device, x.dtype));
  }
}
