/**
 * @file A reward model: a backbone and a head that turns the last token's hidden state into one number (Skywork-VL Reward,
 * arXiv 2505.07263, section 3).
 */

import { fillSlots, listTensors, type StoredTensor } from "../checkpoint/checkpoint.ts";
import { fingerprintTensors } from "../checkpoint/fingerprint.ts";
import { VlRewardError } from "../errors.ts";
import { Module, Parameter, type Placement } from "../nn/index.ts";
import {
  add,
  bytesPerElement,
  type Device,
  type Dtype,
  mul,
  mulScalar,
  type Generator as RandomGenerator,
  randn,
  scope,
  sumAlong,
  type Tensor,
  toDtype,
  zeros,
} from "../torch/index.ts";
import type { Backbone } from "./backbone.ts";
import { familyOf } from "./families.ts";
import type { Family } from "./family.ts";
import { type LanguageHead, languageHeadOf } from "./heads/language.ts";
import { assertBare, drawWeights, type InitialWeights } from "./initial-weights.ts";

/** `Linear(hidden, 1)`, always in float32 as TRL computes it. */
export class RewardHead extends Module {
  readonly weight: Parameter; // [1, hidden]
  readonly bias?: Parameter; // [1]

  constructor(hidden: number, options: { bias: boolean }) {
    super();
    this.weight = new Parameter([1, hidden], "float32");
    if (options.bias) this.bias = new Parameter([1], "float32");
  }

  /** hidden states [n, hidden] -> rewards [n]. A sum of products has the same bits for every n, a matmul has not. */
  forward(hidden: Tensor): Tensor {
    const rewards = sumAlong(mul(toDtype(hidden, "float32"), this.weight.value), [-1]);
    return this.bias ? add(rewards, this.bias.value) : rewards;
  }

  /**
   * Fills it as "Learning to summarize from human feedback" does (arXiv 2009.01325): normally distributed
   * weights of variance 1 / (hidden + 1), so that first rewards are about as large as one hidden value, and no bias.
   */
  initialise(generator: RandomGenerator, place: Placement): void {
    const deviation = headDeviation(this.weight.shape.at(-1) ?? 0);
    scope(() => {
      this.weight.assign(mulScalar(randn(this.weight.shape, generator), deviation), place);
      this.bias?.assign(zeros([1], "float32"), place);
    });
  }
}

const headDeviation = (hidden: number): number => 1 / Math.sqrt(hidden + 1);

export class RewardModel extends Module {
  readonly family: Family;
  readonly backbone: Backbone;
  readonly head: RewardHead;
  /** The checkpoint has none; this one has only been initialised. */
  readonly headIsNew: boolean;
  readonly #folder: string;
  readonly #place: Placement;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;

  #languageHead: LanguageHead | undefined;

  private constructor(folder: string, family: Family, tensors: ReadonlyMap<string, StoredTensor>, place: Placement) {
    super();
    this.#folder = folder;
    this.family = family;
    this.#place = place;
    this.#tensors = tensors;
    this.backbone = family.createBackbone();
    this.headIsNew = !tensors.has("head.weight");
    this.head = new RewardHead(family.shape.decoder.hidden, { bias: this.headIsNew || tensors.has("head.bias") });
  }

  /**
   * Loads a checkpoint folder. Tensors are mapped; one at a time is copied where `place` asks for another dtype or device.
   * Throws `config_invalid`, `checkpoint_mismatch`, `checkpoint_damaged` or `checkpoint_unsupported`.
   *
   * @param newHead for training: a checkpoint without a head gets one that is drawn from it, instead of being refused
   */
  static load(folder: string, place: Placement, newHead?: RandomGenerator): RewardModel {
    const family = familyOf(folder);
    const tensors = rewardTensors(folder, family);
    assertHeadFits(tensors, folder, newHead !== undefined);
    const model = new RewardModel(folder, family, tensors, place);
    try {
      const slots = new Map((model.headIsNew ? model.backbone : model).namedParameters());
      fillSlots(slots, tensors, (slot, tensor) => slot.assign(tensor, place));
      if (model.headIsNew && newHead) model.head.initialise(newHead, place);
    } catch (error) {
      model.dispose();
      throw error;
    }
    return model;
  }

  /**
   * A model of a folder's config.json with weights that are drawn, head included. Throws `config_invalid`, also for a folder
   * that has weights. It has no stored tensors, and so neither `bytes` nor a `fingerprint` that tells it from another.
   *
   * @param init without `headStd`, the head is drawn as `load` draws a new one
   */
  static create(
    folder: string,
    place: Placement,
    init: Omit<InitialWeights, "headStd"> & { readonly headStd?: number },
  ): RewardModel {
    assertBare(folder);
    const family = familyOf(folder);
    const model = new RewardModel(folder, family, new Map(), place);
    const headStd = init.headStd ?? headDeviation(family.shape.decoder.hidden);
    try {
      drawWeights(model.namedParameters(), { ...init, headStd }, place, model.backbone.parts);
    } catch (error) {
      model.dispose();
      throw error;
    }
    return model;
  }

  /** The device that holds the weights. */
  get device(): Device {
    return this.#place.device;
  }

  /** What the arithmetic runs in. */
  get dtype(): Dtype {
    return this.#place.dtype;
  }

  /** What the weights take as they are stored. */
  get bytes(): number {
    return [...this.#tensors.values()].reduce(
      (sum, { shape, dtype }) => sum + shape.reduce((product, length) => product * length, bytesPerElement(dtype)),
      0,
    );
  }

  /** How many numbers the weights are. */
  get parameterCount(): number {
    return [...this.namedParameters()].reduce((sum, [, { stored }]) => sum + stored.elements, 0);
  }

  /** Tells a vision tower's weights, its merger's included, from others: a hash over the tensors as they are stored. */
  get visionFingerprint(): string {
    const { parts } = this.backbone;
    return fingerprintTensors(this.#tensors, (name) => !name.startsWith("head.") && parts.partOf(name) !== "decoder");
  }

  /** As a checkpoint names them: the backbone's without a prefix, the head's under "head.". */
  override *namedParameters(): Generator<[string, Parameter]> {
    yield* this.backbone.namedParameters();
    yield* this.head.namedParameters("head.");
  }

  /** The language model's own head, loaded when it is first asked for. Throws `checkpoint_unsupported` where there is none. */
  readonly languageHead = (): LanguageHead => {
    const { backbone, family } = this;
    this.#languageHead ??= languageHeadOf(backbone, this.#folder, family.tiesEmbeddings, this.#place);
    return this.#languageHead;
  };

  override dispose(): void {
    super.dispose();
    this.#languageHead?.dispose();
    this.#place.converter.dispose();
  }
}

const headNames = new Map([
  ["v_head.summary.weight", "head.weight"], // TRL, LLaMA-Factory: value_head.safetensors
  ["v_head.summary.bias", "head.bias"],
  ["score.weight", "head.weight"], // Hugging Face's ForSequenceClassification
]);

/** -> the tensors of a checkpoint folder by the names of a RewardModel's parameters. Throws as `RewardModel.load` does. */
export const rewardTensors = (folder: string, family = familyOf(folder)): Map<string, StoredTensor> =>
  renamed(listTensors(folder), family);

/** The language model's own head is no part of a reward. */
const ignored = new Set(["lm_head.weight"]);

function renamed(stored: ReadonlyMap<string, StoredTensor>, { parameterName }: Family): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  const storedNames = new Map<string, string>();
  for (const [storedName, tensor] of stored) {
    if (ignored.has(storedName)) continue;
    const name = headNames.get(storedName) ?? parameterName(storedName);
    const other = storedNames.get(name);
    if (other !== undefined) {
      throw new VlRewardError(
        "checkpoint_unsupported",
        `The checkpoint has the same tensor twice, as ${other} (${stored.get(other)?.file}) and as ${storedName} ` +
          `(${tensor.file}). Remove the one that is not meant.`,
      );
    }
    storedNames.set(name, storedName);
    tensors.set(name, tensor);
  }
  return tensors;
}

function assertHeadFits(tensors: ReadonlyMap<string, StoredTensor>, folder: string, mayLack: boolean): void {
  const head = tensors.get("head.weight");
  if (!head) {
    if (mayLack && !tensors.has("head.bias")) return;
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} has no reward head: neither v_head.summary.weight (value_head.safetensors) nor score.weight. ` +
        "It is a language model, not a reward model; train a head on it first.",
    );
  }
  const [labels] = head.shape;
  if (head.shape.length === 2 && labels !== 1) {
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} has a head with ${labels} labels; a reward model has one.`,
    );
  }
}
