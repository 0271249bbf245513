/**
 * @file AdamW (Loshchilov and Hutter, arXiv 1711.05101) by PyTorch's fused kernel, with clipping by the global norm. Master
 * weights are float32. Over several processes each owns an equal part of every weight: its master, its moments and its
 * share of the summed gradient (ZeRO, Rajbhandari et al., arXiv 1910.02054, stages 1 and 2); the updated parts are gathered.
 */
import type { Parameter } from "../../nn/index.ts";
import {
  accumulatedGradient,
  addInto,
  bytesPerElement,
  cat,
  clearGradient,
  clone,
  copyInto,
  type Dtype,
  detach,
  foreachAddInto,
  foreachMulInto,
  foreachNorm,
  fusedAdamW,
  keep,
  narrow,
  noGrad,
  reshape,
  scope,
  stack,
  type Tensor,
  tensorFrom,
  toDtype,
  view,
  zeroInto,
  zeros,
} from "../../torch/index.ts";
import type { World } from "../world.ts";

export interface OptimizerSettings {
  readonly weightDecay: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Gradients whose norm is larger are scaled down to it; 0 leaves them as they are. */
  readonly maxGradNorm: number;
  /** Whether weight decay holds for vectors too: norms and biases. */
  readonly decayNormsAndBiases: boolean;
  /**
   * "float32": weights of a narrower dtype have masters in float32. "none": they are updated as they are, moments in their
   * dtype too: half the memory, and small updates are lost.
   */
  readonly masterWeights: "float32" | "none";
}

/**
 * What is saved of a weight: tensors of its own shape, float32. Each is put together from the parts of all processes when it
 * is asked for: all have to ask for the same ones in the same order.
 */
export interface WeightState {
  readonly name: string;
  readonly shape: readonly number[];
  /** Updates so far: a weight that a step does not use is left alone by it. */
  readonly updates: number;
  weight(): Tensor;
  expAvg(): Tensor;
  expAvgSq(): Tensor;
}

/** A trained weight and what this process keeps of it. */
interface Slice {
  readonly name: string;
  readonly parameter: Parameter;
  /** [part]; the weight itself where that is of the same dtype and undivided. */
  readonly master: Tensor;
  readonly expAvg: Tensor; // [part]
  readonly expAvgSq: Tensor; // [part]
  readonly updates: Tensor; // float32 scalar, as the kernel wants it
  readonly decays: boolean;
  /** The gradient so far, float32 [elements], where the weight's own is of a narrower dtype. */
  sum: Tensor | undefined;
}

export class AdamW {
  readonly #settings: OptimizerSettings;
  readonly #world: World;
  readonly #slices: readonly Slice[];

  /** Takes the parameters as they are: leaves that ask for a gradient. */
  constructor(trained: ReadonlyMap<string, Parameter>, settings: OptimizerSettings, world: World) {
    this.#settings = settings;
    this.#world = world;
    this.#slices = noGrad(() => scope(() => [...trained].map(([name, parameter]) => this.#slice(name, parameter))));
  }

  /** Bytes of master weights and moments that this process holds beside the weights. */
  get bytes(): number {
    return this.#slices.reduce((sum, { parameter, master }) => {
      const width = bytesPerElement(master.dtype);
      const own = this.#isShared(parameter.stored.dtype, master.dtype) ? 2 : 3;
      return sum + master.elements * own * width;
    }, 0);
  }

  /** Takes the gradients of a stream over where the weights' dtype is too narrow to add many of them up. */
  collect(): void {
    noGrad(() =>
      scope(() => {
        for (const slice of this.#slices) {
          if (slice.parameter.stored.dtype === "float32") continue;
          const gradient = accumulatedGradient(slice.parameter.stored);
          if (!gradient) continue;
          if (slice.sum) addInto(slice.sum, flattened(gradient));
          else slice.sum = keep(toDtype(flattened(gradient), "float32"));
          clearGradient(slice.parameter.stored);
        }
      }),
    );
  }

  /**
   * One update with the gradients of all processes summed; clears them.
   *
   * @param scale that the gradients are multiplied with first
   * @returns the norm of the gradients before clipping. Where that is no number nothing is updated.
   */
  step(learningRate: number, scale = 1): number {
    this.collect();
    return noGrad(() =>
      scope(() => {
        const used = this.#usedByAny();
        const updated = this.#slices.filter((_, index) => used[index]);
        const gradients = updated.map((slice) => this.#ownGradient(slice));
        if (scale !== 1 && gradients.length > 0) foreachMulInto(gradients, scale);
        const norm = this.#norm(gradients);
        if (Number.isFinite(norm)) {
          const { maxGradNorm } = this.#settings;
          if (maxGradNorm > 0 && norm + 1e-6 > maxGradNorm) foreachMulInto(gradients, maxGradNorm / (norm + 1e-6));
          this.#update(updated, gradients, learningRate);
        }
        this.discard();
        return norm;
      }),
    );
  }

  /** Forgets the moments: a stage begins as a run of its own would. */
  reset(): void {
    for (const { expAvg, expAvgSq, updates } of this.#slices) {
      scope(() => [expAvg, expAvgSq, updates].map((tensor) => zeroInto(tensor)));
    }
  }

  /** Whether all weights are finite numbers; all processes ask together. */
  isFinite(): boolean {
    return noGrad(() => scope(() => Number.isFinite(this.#norm(this.#slices.map(({ master }) => master)))));
  }

  /** Forgets the gradients so far. */
  discard(): void {
    for (const slice of this.#slices) {
      clearGradient(slice.parameter.stored);
      slice.sum?.dispose();
      slice.sum = undefined;
    }
  }

  /** Everything that makes the next step what it is, weight by weight. */
  state(): WeightState[] {
    return this.#slices.map(({ name, parameter: { shape }, master, expAvg, expAvgSq, updates }) => {
      const whole = (part: Tensor): Tensor => noGrad(() => scope(() => toDtype(this.#gather(part, shape), "float32")));
      return {
        name,
        shape,
        updates: updates.toFloat32Array()[0] ?? 0,
        weight: () => whole(master),
        expAvg: () => whole(expAvg),
        expAvgSq: () => whole(expAvgSq),
      };
    });
  }

  /** Takes a state back. */
  restore(stateOf: (name: string) => Omit<WeightState, "name" | "shape">): void {
    noGrad(() => {
      for (const slice of this.#slices) {
        scope(() => {
          const state = stateOf(slice.name);
          const { parameter, master, expAvg, expAvgSq, updates } = slice;
          const weight = state.weight();
          copyInto(parameter.stored, weight);
          copyInto(master, this.#part(weight));
          copyInto(expAvg, this.#part(state.expAvg()));
          copyInto(expAvgSq, this.#part(state.expAvgSq()));
          copyInto(updates, tensorFrom(Float32Array.of(state.updates), []));
        });
      }
    });
  }

  dispose(): void {
    for (const { master, expAvg, expAvgSq, updates, sum } of this.#slices) {
      for (const tensor of [master, expAvg, expAvgSq, updates, sum]) tensor?.dispose();
    }
  }

  #slice(name: string, parameter: Parameter): Slice {
    const weight = detach(parameter.stored);
    const dtype = this.#settings.masterWeights === "float32" ? "float32" : weight.dtype;
    const part = this.#part(weight);
    const master = keep(this.#isShared(weight.dtype, dtype) ? part : clone(toDtype(part, dtype)));
    const moment = (): Tensor => keep(zeros(master.shape, dtype, null, weight.device));
    return {
      name,
      parameter,
      master,
      expAvg: moment(),
      expAvgSq: moment(),
      updates: keep(zeros([], "float32", null, weight.device)),
      decays: this.#settings.decayNormsAndBiases || parameter.shape.length > 1,
      sum: undefined,
    };
  }

  /** Whether a weight is its own master. */
  #isShared(weight: Dtype, master: Dtype): boolean {
    return weight === master && this.#world.worldSize === 1;
  }

  /** Elements of a weight that each process owns; the last one's are filled up with zeros. */
  #partLength(elements: number): number {
    return Math.ceil(elements / this.#world.worldSize);
  }

  /** x of a weight's shape -> this process's elements of it [part] */
  #part(x: Tensor): Tensor {
    const length = this.#partLength(x.elements);
    return narrow(padded(flat(x), length * this.#world.worldSize), 0, this.#world.rank * length, length);
  }

  /** Which weights any process has a gradient for: the others are not moved. */
  #usedByAny(): boolean[] {
    const mine = this.#slices.map(({ parameter, sum }) =>
      Number(Boolean(sum ?? accumulatedGradient(parameter.stored))),
    );
    const counts = this.#world.allReduce(
      tensorFrom(Float32Array.from(mine), [mine.length], "float32", this.#world.device),
    );
    return Array.from(counts.toFloat32Array(), (count) => count > 0);
  }

  /** -> the gradient of this process's part, summed over all [part] */
  #ownGradient({ parameter, master, sum }: Slice): Tensor {
    const { elements, device } = parameter.stored;
    const gradient = sum ?? accumulatedGradient(parameter.stored);
    const whole = gradient ? flattened(gradient) : zeros([elements], "float32", null, device);
    const own = this.#world.reduceScatter(padded(whole, this.#partLength(elements) * this.#world.worldSize));
    return toDtype(own, master.dtype);
  }

  #norm(gradients: readonly Tensor[]): number {
    if (gradients.length === 0) return 0;
    const norms = stack(foreachNorm(gradients)).toFloat32Array();
    const squares = norms.reduce((total, norm) => total + norm ** 2, 0);
    const [total = Number.NaN] = this.#world
      .allReduce(tensorFrom(Float32Array.of(squares), [1], "float32", this.#world.device))
      .toFloat32Array();
    return Math.sqrt(total);
  }

  #update(slices: readonly Slice[], gradients: readonly Tensor[], learningRate: number): void {
    const { betas, eps, weightDecay } = this.#settings;
    for (const decays of [true, false]) {
      const chosen = slices.flatMap((slice, index) => {
        const gradient = gradients[index];
        return gradient && slice.decays === decays ? [{ ...slice, gradient }] : [];
      });
      if (chosen.length === 0) continue;
      const all = (key: "master" | "gradient" | "expAvg" | "expAvgSq" | "updates"): Tensor[] =>
        chosen.map((one) => one[key]);
      foreachAddInto(all("updates"), 1);
      const decay = decays ? weightDecay : 0;
      const [first, second] = betas;
      fusedAdamW(
        ...([all("master"), all("gradient"), all("expAvg"), all("expAvgSq"), [], all("updates")] as const),
        ...([learningRate, first, second, decay, eps, false, false] as const),
      );
    }
    for (const { parameter, master } of slices) {
      const { stored } = parameter;
      if (this.#isShared(stored.dtype, master.dtype)) continue;
      scope(() => copyInto(stored, this.#gather(toDtype(master, stored.dtype), parameter.shape)));
    }
  }

  /** part [part] of each process -> the whole, of the weight's shape */
  #gather(part: Tensor, shape: readonly number[]): Tensor {
    const elements = shape.reduce((product, length) => product * length, 1);
    return view(narrow(this.#world.allGather(part), 0, 0, elements), shape);
  }
}

/** A view of a weight, which writing through changes. */
const flat = (x: Tensor): Tensor => view(x, [-1]);

/** A gradient may lie in another order than its weight. */
const flattened = (x: Tensor): Tensor => reshape(x, [-1]);

function padded(x: Tensor, length: number): Tensor {
  const missing = length - x.elements;
  return missing === 0 ? x : cat([x, zeros([missing], x.dtype, null, x.device)], 0);
}
