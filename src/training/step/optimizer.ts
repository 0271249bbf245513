/**
 * @file AdamW (Loshchilov and Hutter, arXiv 1711.05101) by PyTorch's fused kernel, and Muon for the matrices of layers where it
 * is asked for, with clipping by the global norm. Master weights are float32. Over several processes each owns an equal part of
 * every weight: its master, its moments and its share of the summed gradient (ZeRO, Rajbhandari et al., arXiv 1910.02054, stages
 * 1 and 2); the updated parts are gathered.
 */
import type { Parameter } from "../../nn/index.ts";
import {
  accumulatedGradient,
  addInto,
  bytesPerElement,
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
  noGrad,
  reshape,
  scope,
  stack,
  type Tensor,
  tensorFrom,
  toDtype,
  zeroInto,
  zeros,
} from "../../torch/index.ts";
import type { World } from "../world.ts";
import { lookAhead, orthogonalized } from "./muon.ts";
import { Partition } from "./partition.ts";

export interface OptimizerSettings {
  /** "muon": the matrices of all layers take Muon's steps; embeddings, heads and vectors AdamW's, as with "adamw". */
  readonly type: "adamw" | "muon";
  readonly weightDecay: number;
  readonly betas: readonly [number, number];
  /** Decay of Muon's running mean of the gradient. */
  readonly momentum: number;
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
  /** Undefined where it takes Muon's steps: those have one moment. */
  readonly expAvgSq: (() => Tensor) | undefined;
}

/** A trained weight and what this process keeps of it. */
interface Slice {
  readonly name: string;
  readonly parameter: Parameter;
  /** [part]; the weight itself where that is of the same dtype and undivided. */
  readonly master: Tensor;
  readonly expAvg: Tensor; // [part]
  readonly expAvgSq: Tensor | undefined; // [part]; absent where the steps are Muon's
  readonly updates: Tensor; // float32 scalar, as the kernel wants it
  readonly decays: boolean;
  /** The gradient so far, float32 [elements], where the weight's own is of a narrower dtype. */
  sum: Tensor | undefined;
}

interface Step extends Slice {
  readonly gradient: Tensor; // [part]
}

export class Optimizer {
  readonly #settings: OptimizerSettings;
  readonly #world: World;
  readonly #partition: Partition;
  readonly #slices: readonly Slice[];

  /**
   * Takes the parameters as they are: leaves that ask for a gradient.
   *
   * @param isInLayer which of them, by name, belong to a model's layers: their matrices are Muon's
   */
  constructor(
    trained: ReadonlyMap<string, Parameter>,
    settings: OptimizerSettings,
    world: World,
    isInLayer: (name: string) => boolean = () => false,
  ) {
    this.#settings = settings;
    this.#world = world;
    this.#partition = new Partition(world);
    const isMuons = (name: string, { shape }: Parameter): boolean =>
      settings.type === "muon" && shape.length === 2 && isInLayer(name);
    this.#slices = noGrad(() =>
      scope(() => [...trained].map(([name, parameter]) => this.#slice(name, parameter, isMuons(name, parameter)))),
    );
  }

  /** Bytes of master weights and moments that this process holds beside the weights. */
  get bytes(): number {
    return this.#slices.reduce((sum, { parameter, master, expAvgSq }) => {
      const width = bytesPerElement(master.dtype);
      const own = this.#isShared(parameter.stored.dtype, master.dtype) ? 0 : 1;
      return sum + master.elements * (own + (expAvgSq ? 2 : 1)) * width;
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
        const gradients = this.#ownGradients(updated);
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
      scope(() => [expAvg, expAvgSq, updates].map((tensor) => tensor && zeroInto(tensor)));
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
      const whole = (part: Tensor): Tensor =>
        noGrad(() => scope(() => toDtype(this.#partition.gather([{ part, shape }])[0] ?? part, "float32")));
      return {
        name,
        shape,
        updates: updates.toFloat32Array()[0] ?? 0,
        weight: () => whole(master),
        expAvg: () => whole(expAvg),
        expAvgSq: expAvgSq && (() => whole(expAvgSq)),
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
          copyInto(master, this.#partition.part(weight));
          copyInto(expAvg, this.#partition.part(state.expAvg()));
          if (expAvgSq && state.expAvgSq) copyInto(expAvgSq, this.#partition.part(state.expAvgSq()));
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

  #slice(name: string, parameter: Parameter, isMuons: boolean): Slice {
    const weight = detach(parameter.stored);
    const dtype = this.#settings.masterWeights === "float32" ? "float32" : weight.dtype;
    const part = this.#partition.part(weight);
    const master = keep(this.#isShared(weight.dtype, dtype) ? part : clone(toDtype(part, dtype)));
    const moment = (): Tensor => keep(zeros(master.shape, dtype, null, weight.device));
    return {
      name,
      parameter,
      master,
      expAvg: moment(),
      expAvgSq: isMuons ? undefined : moment(),
      updates: keep(zeros([], "float32", null, weight.device)),
      decays: this.#settings.decayNormsAndBiases || parameter.shape.length > 1,
      sum: undefined,
    };
  }

  /** Whether a weight is its own master. */
  #isShared(weight: Dtype, master: Dtype): boolean {
    return weight === master && this.#world.worldSize === 1;
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

  /** -> for each slice the gradient of this process's part, summed over all [part] */
  #ownGradients(slices: readonly Slice[]): Tensor[] {
    return this.#partition.buckets(slices).flatMap((bucket) =>
      scope(() => {
        const wholes = bucket.map(({ parameter: { stored }, sum }) => {
          const gradient = sum ?? accumulatedGradient(stored);
          return gradient ? flattened(gradient) : zeros([stored.elements], "float32", null, stored.device);
        });
        const parts = this.#partition.sum(wholes);
        return bucket.map(({ master }, index) => toDtype(parts[index] ?? master, master.dtype));
      }),
    );
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
    const all = slices.flatMap((slice, index): Step[] => {
      const gradient = gradients[index];
      return gradient ? [{ ...slice, gradient }] : [];
    });
    for (const decays of [true, false]) {
      const chosen = all.filter((step) => step.expAvgSq !== undefined && step.decays === decays);
      this.#adamW(chosen, decays ? this.#settings.weightDecay : 0, learningRate);
    }
    for (const alike of ofOneShape(all.filter(({ expAvgSq }) => expAvgSq === undefined))) {
      scope(() => this.#muon(alike, learningRate));
    }
    this.#share(slices);
  }

  #adamW(steps: readonly Step[], decay: number, learningRate: number): void {
    if (steps.length === 0) return;
    const all = (key: "master" | "gradient" | "expAvg" | "updates"): Tensor[] => steps.map((step) => step[key]);
    const expAvgSq = steps.flatMap((step) => step.expAvgSq ?? []);
    const [first, second] = this.#settings.betas;
    foreachAddInto(all("updates"), 1);
    fusedAdamW(
      ...([all("master"), all("gradient"), all("expAvg"), expAvgSq, [], all("updates")] as const),
      ...([learningRate, first, second, decay, this.#settings.eps, false, false] as const),
    );
  }

  /**
   * Matrices of one shape. Each process owns parts of them, but a step follows from the whole of one: all make all steps, and
   * take theirs.
   */
  #muon(steps: readonly Step[], learningRate: number): void {
    const { momentum, weightDecay } = this.#settings;
    const updates = steps.map((step) => step.updates);
    foreachAddInto(updates, 1);
    const ahead = steps.map(({ expAvg, gradient, parameter: { shape } }) => ({
      part: lookAhead(expAvg, gradient, momentum),
      shape,
    }));
    const directions = orthogonalized(this.#partition.gather(ahead));
    for (const [index, { master }] of steps.entries()) {
      const direction = directions[index];
      if (!direction) continue;
      foreachMulInto([master], 1 - learningRate * weightDecay);
      addInto(master, toDtype(this.#partition.part(direction), master.dtype), -learningRate);
    }
  }

  /** Brings updated parts to where the weights are. */
  #share(slices: readonly Slice[]): void {
    const apart = slices.filter(({ parameter, master }) => !this.#isShared(parameter.stored.dtype, master.dtype));
    for (const bucket of this.#partition.buckets(apart)) {
      scope(() => {
        const wholes = this.#partition.gather(
          bucket.map(({ parameter: { stored, shape }, master }) => ({ part: toDtype(master, stored.dtype), shape })),
        );
        for (const [index, { parameter }] of bucket.entries())
          copyInto(parameter.stored, wholes[index] ?? parameter.stored);
      });
    }
  }
}

/** Elements of matrices that are worked on together: small ones by the dozen, large ones by themselves. */
const togetherElements = 2 ** 22;

/** Matrices of one shape together, as many as there is room for. */
function ofOneShape(steps: readonly Step[]): Step[][] {
  const open = new Map<string, Step[]>();
  const groups: Step[][] = [];
  for (const step of steps) {
    const { shape, stored } = step.parameter;
    const group = open.get(shape.join());
    if (group && (group.length + 1) * stored.elements <= togetherElements) group.push(step);
    else {
      const begun = [step];
      open.set(shape.join(), begun);
      groups.push(begun);
    }
  }
  return groups;
}

/** A gradient may lie in another order than its weight. */
const flattened = (x: Tensor): Tensor => reshape(x, [-1]);
