/**
 * @file A reward model: a backbone and a head that turns the last token's hidden state into one number (Skywork-VL Reward,
 * arXiv 2505.07263, section 3).
 */

import { fillSlots, type StoredTensor } from "../checkpoint/checkpoint.ts";
import { fingerprintTensors } from "../checkpoint/fingerprint.ts";
import { VlRewardError } from "../errors.ts";
import { Module, type Parameter, type Placement } from "../nn/index.ts";
import {
  bytesPerElement,
  type Device,
  type Dtype,
  type Generator as RandomGenerator,
  scope,
  toDtype,
} from "../torch/index.ts";
import { merged, type Update } from "./adapter.ts";
import type { Backbone } from "./backbone.ts";
import { assertHead, type CheckpointTensors, checkpointTensors, lastOfHead } from "./checkpoint-tensors.ts";
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
  /** What a person should know of how the checkpoint was read. */
  readonly notes: readonly string[];
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #updates: ReadonlyMap<string, Update>;
  readonly #storedLanguageHead: StoredTensor | undefined;
  #languageHead: LanguageHead | undefined;

  private constructor(
    folder: string,
    family: Family,
    { tensors, updates, languageHead, notes }: CheckpointTensors,
    place: Placement,
    newWidth: number | undefined,
  ) {
    super();
    this.#folder = folder;
    this.family = family;
    this.#place = place;
    this.#tensors = tensors;
    this.#updates = updates;
    this.#storedLanguageHead = languageHead;
    this.notes = notes;
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
   * @param base the folder of the model that `folder` is an adapter of: the two are merged
   */
  static load(folder: string, place: Placement, newHead?: NewHead, base?: string): RewardModel {
    const family = familyOf(folder, base);
    const checkpoint = checkpointTensors(folder, base, family);
    assertHeadFits(checkpoint, folder, family, newHead);
    const model = new RewardModel(base ?? folder, family, checkpoint, place, newHead?.width);
    try {
      const slots = new Map((model.headIsNew ? model.backbone : model).namedParameters());
      fillSlots(slots, checkpoint.tensors, (slot, tensor) => slot.assign(tensor, place));
      for (const [name, update] of checkpoint.updates) {
        const parameter = slots.get(name);
        if (parameter) scope(() => parameter.assign(merged(toDtype(parameter.stored, place.dtype), update), place));
      }
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
    const model = new RewardModel(folder, family, nothing, place, width);
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

  /** What the weights take: as they are stored, and where an adapter changed them in what is computed in. */
  get bytes(): number {
    const width = bytesPerElement(this.#place.dtype);
    return [...this.#tensors].reduce(
      (sum, [name, { shape, dtype }]) =>
        sum +
        shape.reduce((product, length) => product * length, this.#updates.has(name) ? width : bytesPerElement(dtype)),
      0,
    );
  }

  /** How many numbers the weights are. */
  get parameterCount(): number {
    return [...this.namedParameters()].reduce((sum, [, { stored }]) => sum + stored.elements, 0);
  }

  /** Tells these weights from others: a hash over the tensors as they are stored. */
  get fingerprint(): string {
    return fingerprintTensors(this.#identity(), () => true);
  }

  /** Tells a vision tower's weights, its merger's included, from others: a hash over the tensors as they are stored. */
  get visionFingerprint(): string {
    const { parts } = this.backbone;
    return fingerprintTensors(
      this.#identity(),
      (name) => !name.startsWith("head.") && parts.partOf(name) !== "decoder",
    );
  }

  /** All that the weights come of, by names that begin with the parameters'. */
  #identity(): ReadonlyMap<string, StoredTensor> {
    const halves = [...this.#updates].flatMap(([name, { a, b, scaling }]): [string, StoredTensor][] => [
      [`${name} + ${scaling} B A: A`, a],
      [`${name} + ${scaling} B A: B`, b],
    ]);
    return new Map([...this.#tensors, ...halves]);
  }

  /** As a checkpoint names them: the backbone's without a prefix, the head's under "head.". */
  override *namedParameters(): Generator<[string, Parameter]> {
    yield* this.backbone.namedParameters();
    yield* this.head.namedParameters("head.");
  }

  /** The language model's own head, loaded when it is first asked for. Throws `checkpoint_unsupported` where there is none. */
  readonly languageHead = (): LanguageHead => {
    this.#languageHead ??= languageHeadOf(
      this.backbone.embedding.weight,
      this.#storedLanguageHead,
      this.#folder,
      this.#place,
    );
    return this.#languageHead;
  };

  override dispose(): void {
    super.dispose();
    this.#languageHead?.dispose();
    this.#place.converter.dispose();
  }
}

const nothing: CheckpointTensors = {
  tensors: new Map(),
  updates: new Map(),
  languageHead: undefined,
  strange: new Map(),
  notes: [],
};

function assertHeadFits(checkpoint: CheckpointTensors, folder: string, family: Family, newHead?: NewHead): void {
  if (newHead && ![...checkpoint.tensors.keys()].some((name) => name.startsWith("head."))) return;
  assertHead(checkpoint, folder, family);
  if (newHead?.width === undefined) return;
  throw new VlRewardError(
    "config_invalid",
    `head: ${folder} has a reward head, with which training goes on; expected a model without one for a new head with a ` +
      "hidden layer. Leave out head, or take such a model.",
  );
}
