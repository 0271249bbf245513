/**
 * @file A reward model: a backbone and a head that turns the last token's hidden state into one number (Skywork-VL Reward,
 * arXiv 2505.07263, section 3).
 */

import { fillSlots, listTensors, type StoredTensor } from "../checkpoint/checkpoint.ts";
import { fingerprintTensors } from "../checkpoint/fingerprint.ts";
import { VlRewardError } from "../errors.ts";
import { Module, type Parameter, type Placement } from "../nn/index.ts";
import { bytesPerElement, type Device, type Dtype, type Generator as RandomGenerator } from "../torch/index.ts";
import type { Backbone } from "./backbone.ts";
import { familyOf } from "./families.ts";
import type { Family } from "./family.ts";
import { type LanguageHead, languageHeadOf } from "./heads/language.ts";
import { type RewardHead, rewardHead } from "./heads/reward.ts";
import { assertBare, drawWeights, type InitialWeights } from "./initial-weights.ts";

/** For training: what a checkpoint without a head gets. */
export interface NewHead {
  readonly generator: RandomGenerator;
  /** Of a layer before the last one; undefined: there is none. */
  readonly width?: number | undefined;
}

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

  private constructor(
    folder: string,
    family: Family,
    tensors: ReadonlyMap<string, StoredTensor>,
    place: Placement,
    newWidth: number | undefined,
  ) {
    super();
    this.#folder = folder;
    this.family = family;
    this.#place = place;
    this.#tensors = tensors;
    this.backbone = family.createBackbone();
    this.headIsNew = lastOfHead(tensors) === undefined;
    this.head = rewardHead({
      hidden: family.shape.decoder.hidden,
      width: this.headIsNew ? newWidth : tensors.get("head.0.weight")?.shape[0],
      bias: this.headIsNew ? family.headPlace === "value_head" : tensors.has("head.bias"),
    });
  }

  /**
   * Loads a checkpoint folder. Tensors are mapped; one at a time is copied where `place` asks for another dtype or device.
   * Throws `config_invalid`, `checkpoint_mismatch`, `checkpoint_damaged` or `checkpoint_unsupported`.
   *
   * @param newHead a checkpoint without a head gets one that is drawn from it, instead of being refused; where it asks for a
   *   width, the checkpoint must have none
   */
  static load(folder: string, place: Placement, newHead?: NewHead): RewardModel {
    const family = familyOf(folder);
    const tensors = rewardTensors(folder, family);
    assertHeadFits(tensors, folder, newHead);
    const model = new RewardModel(folder, family, tensors, place, newHead?.width);
    try {
      const slots = new Map((model.headIsNew ? model.backbone : model).namedParameters());
      fillSlots(slots, tensors, (slot, tensor) => slot.assign(tensor, place));
      if (model.headIsNew && newHead) model.head.initialise(newHead.generator, place);
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
   * @param width of a layer before the head's last one; undefined: there is none
   */
  static create(folder: string, place: Placement, init: InitialWeights, width?: number): RewardModel {
    assertBare(folder);
    const family = familyOf(folder);
    const model = new RewardModel(folder, family, new Map(), place, width);
    try {
      drawWeights(model.namedParameters(), init, place, model.backbone.parts);
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

  /** Tells these weights from others: a hash over the tensors as they are stored. */
  get fingerprint(): string {
    return fingerprintTensors(this.#tensors, () => true);
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
    this.#languageHead ??= languageHeadOf(this.backbone.embedding.weight, this.#folder, this.#place);
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
  ["v_head.summary.0.weight", "head.0.weight"], // this program's, of two layers
  ["v_head.summary.0.bias", "head.0.bias"],
  ["v_head.summary.2.weight", "head.2.weight"],
  ["v_head.summary.2.bias", "head.2.bias"],
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

/** -> the matrix that gives the reward */
const lastOfHead = (tensors: ReadonlyMap<string, StoredTensor>): StoredTensor | undefined =>
  tensors.get("head.weight") ?? tensors.get("head.2.weight");

function assertHeadFits(tensors: ReadonlyMap<string, StoredTensor>, folder: string, newHead?: NewHead): void {
  const head = lastOfHead(tensors);
  if (!head) {
    if (newHead && ![...tensors.keys()].some((name) => name.startsWith("head."))) return;
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} has no reward head: neither v_head.summary.weight (value_head.safetensors) nor score.weight. ` +
        "It is a language model, not a reward model; train a head on it first.",
    );
  }
  if (newHead?.width !== undefined) {
    throw new VlRewardError(
      "config_invalid",
      `head: ${folder} has a reward head, with which training goes on; expected a model without one for a new head with a ` +
        "hidden layer. Leave out head, or take such a model.",
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
