/** @file The layers that a transformer is made of. Names and parameter shapes are PyTorch's. */
import { add, cat, embedding, linear, narrow, rmsNorm, type Tensor, toDtype, zeros } from "../torch/index.ts";
import { gelu, swiglu } from "./activations.ts";
import type { LowRankUpdate } from "./lora.ts";
import { Module } from "./module.ts";
import { Parameter } from "./parameter.ts";

export class Linear extends Module {
  readonly weight: Parameter; // [outputs, inputs]
  readonly bias?: Parameter; // [outputs]
  /** What is added to the weight, where one is attached (lora.ts). */
  lora: LowRankUpdate | undefined;

  constructor(inputs: number, outputs: number, options: { bias: boolean }) {
    super();
    this.weight = new Parameter([outputs, inputs]);
    if (options.bias) this.bias = new Parameter([outputs]);
  }

  /** [..., inputs] -> [..., outputs] */
  forward(x: Tensor): Tensor {
    const y = linear(x, this.weight.value, this.bias?.value);
    return this.lora ? add(y, this.lora.forward(x)) : y;
  }

  /** As forward, with as many columns as are fastest: those beyond `outputs` hold anything, and are not to be read. */
  forwardWide(x: Tensor): Tensor {
    if (this.lora) return this.forward(x);
    const weight = this.weight.wideValue;
    const spare = weight.size(0) - this.weight.stored.size(0);
    const bias = this.bias?.value;
    return linear(x, weight, bias && spare > 0 ? cat([bias, zeros([spare], bias.dtype, null, bias.device)], 0) : bias);
  }
}

/** Root mean square normalisation (Zhang and Sennrich, arXiv 1910.07467); the mean is taken in float32. */
export class RMSNorm extends Module {
  readonly weight: Parameter; // [width]
  readonly #epsilon: number;

  constructor(width: number, epsilon: number) {
    super();
    this.weight = new Parameter([width]);
    this.#epsilon = epsilon;
  }

  /** [..., width] -> [..., width] */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight.shape, this.weight.value, this.#epsilon);
  }
}

export class Embedding extends Module {
  readonly weight: Parameter; // [entries, width]

  constructor(entries: number, width: number) {
    super();
    this.weight = new Parameter([entries, width]);
  }

  /** ids [tokens] -> [tokens, width]. Rows are converted after they are looked up, not the table before. */
  forward(ids: Tensor): Tensor {
    return toDtype(embedding(this.weight.stored, ids), this.weight.dtype);
  }
}

/** Gaussian error linear unit, the exact form. A layer without parameters, to keep its place in a list of layers. */
export class GELU extends Module {
  forward(x: Tensor): Tensor {
    return gelu(x);
  }
}

/** down(silu(gate(x)) * up(x)) (Shazeer, arXiv 2002.05202). */
export class SwiGLU extends Module {
  readonly gateProj: Linear;
  readonly upProj: Linear;
  readonly downProj: Linear;

  constructor(width: number, intermediate: number, options: { bias: boolean }) {
    super();
    this.gateProj = new Linear(width, intermediate, options);
    this.upProj = new Linear(width, intermediate, options);
    this.downProj = new Linear(intermediate, width, options);
  }

  /** [..., width] -> [..., width] */
  forward(x: Tensor): Tensor {
    const wide = swiglu(this.gateProj.forwardWide(x), this.upProj.forwardWide(x));
    return this.downProj.forward(narrow(wide, -1, 0, this.downProj.weight.stored.size(1)));
  }
}
