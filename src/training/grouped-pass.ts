/**
 * @file The grouped forward of scoring, differentiable: all answers to a prompt share its computation in the graph. A step's
 * pairs are cut into streams of tokens; each runs forward and backward by itself and adds to the gradients, so that memory
 * follows from the stream and not from the batch.
 */
import type { GroupPrompt, Visual } from "../models/qwen2_5_vl/processor.ts";
import type { RewardModel } from "../models/reward-model.ts";
import { Checkpointing, type LayerRunner, type LowRankUpdate, runLayers } from "../nn/index.ts";
import { type FeatureRows, layOut } from "../reward/layout.ts";
import { inBatches, mergeGroups, type Piece, type PromptWork } from "../reward/plan.ts";
import {
  backward,
  bernoulliInto,
  cat,
  empty,
  Generator,
  mul,
  mulScalar,
  narrow,
  noGrad,
  scope,
  type Tensor,
  toDevice,
} from "../torch/index.ts";
import { type PairwiseLossOptions, pairwiseLoss, type RewardPair } from "./loss.ts";
import type { VisionFeatures } from "./vision-features.ts";

/** Answers to one prompt, ready for the model, and the pairs that they form; `chosen` and `rejected` index the branches. */
export interface PreparedPairs {
  readonly prompt: GroupPrompt;
  readonly pairs: readonly RewardPair[];
}

export interface GroupedPassOptions extends PairwiseLossOptions {
  /** Tokens of one stream; a single prompt with its answers may exceed it. */
  readonly tokenBudget: number;
  /** Whether layers are computed a second time instead of kept. */
  readonly checkpointing: boolean;
  /** Whether answers to one prompt share its computation. Without it each answer is computed with a prompt of its own. */
  readonly sharing: boolean;
  /** The part of the hidden state that is dropped before the head, while training. */
  readonly headDropout: number;
}

/** For each of the PreparedPairs, the reward of each branch. */
export type Rewards = readonly (readonly number[])[];

export class GroupedPass {
  readonly #model: RewardModel;
  readonly #vision: VisionFeatures;
  readonly #updates: readonly LowRankUpdate[];
  readonly #options: GroupedPassOptions;

  /** @param updates those that the model's layers have */
  constructor(
    model: RewardModel,
    vision: VisionFeatures,
    updates: readonly LowRankUpdate[],
    options: GroupedPassOptions,
  ) {
    this.#model = model;
    this.#vision = vision;
    this.#updates = updates;
    this.#options = options;
  }

  /**
   * Adds the gradients of `scale` times the summed loss to those of the trained weights.
   *
   * @param seed of what is dropped, below 2^32; the same one drops the same
   */
  backpropagate(prepared: readonly PreparedPairs[], scale: number, seed: number): { loss: number; rewards: Rewards } {
    using generator = new Generator(seed);
    let loss = 0;
    let stream = 0;
    const rewards = this.#run(prepared, (works, read) => {
      this.#dropFrom((seed + stream++) % 2 ** 32);
      const checkpointing = this.#options.checkpointing ? new Checkpointing() : undefined;
      const hidden = this.#forward(works, checkpointing?.run ?? runLayers);
      const values = this.#model.head.forward(this.#dropped(hidden, generator));
      const readers = readersOf(works);
      const streamLoss = pairwiseLoss(values, pairsOf(prepared, readers), this.#options);
      backward(mulScalar(streamLoss, scale));
      checkpointing?.backward();
      loss += streamLoss.toFloat32Array()[0] ?? Number.NaN;
      read(values, readers);
    });
    return { loss, rewards };
  }

  /** The rewards alone, without gradients and with nothing dropped. */
  evaluate(prepared: readonly PreparedPairs[]): Rewards {
    this.#dropFrom(undefined);
    return noGrad(() =>
      this.#run(prepared, (works, read) => {
        read(this.#model.head.forward(this.#forward(works, runLayers)), readersOf(works));
      }),
    );
  }

  #dropFrom(seed: number | undefined): void {
    for (const update of this.#updates) update.dropoutSeed = seed;
  }

  #run(
    prepared: readonly PreparedPairs[],
    runStream: (works: readonly PromptWork[], read: (values: Tensor, readers: readonly Reader[]) => void) => void,
  ): Rewards {
    const rewards = prepared.map(({ prompt }) => new Array<number>(prompt.branches.length).fill(Number.NaN));
    for (const works of this.#streams(prepared)) {
      scope(() =>
        runStream(works, (values, readers) => {
          const numbers = values.toFloat32Array();
          for (const { group, branch, row } of readers) (rewards[group] ?? [])[branch] = numbers[row] ?? Number.NaN;
        }),
      );
      this.#vision.settle();
    }
    return rewards;
  }

  /** Whole prompts with all their answers, as many as fit: the graph of one cannot reach over two streams. */
  #streams(prepared: readonly PreparedPairs[]): PromptWork[][] {
    const merged = mergeGroups(prepared.map(({ prompt }) => prompt));
    const units = this.#options.sharing ? merged.map((work) => [work]) : merged.map(answersAlone);
    const weigh = (works: readonly PromptWork[]): number => works.reduce((sum, work) => sum + tokensOf(work), 0);
    return inBatches(units, weigh, this.#options.tokenBudget).map((batch) => batch.flat());
  }

  /** -> the hidden states of the last token of every branch, in the order of the works [branches, hidden], then padding */
  #forward(works: readonly PromptWork[], run: LayerRunner): Tensor {
    const { backbone } = this.#model;
    const pieces = works.map(
      (work): Piece => ({ work, from: 0, until: work.prefix.span.ids.length, branches: work.branches }),
    );
    const stream = layOut(pieces, () => undefined);
    const attention = backbone.model.attention(stream.groups, this.#model);
    const x = backbone.embed(stream, this.#features(stream.features, run));
    return backbone.model.forwardPacked(x, stream.positions, attention, stream.rows, run);
  }

  /** Dropout as TRL's value head has it: what is left is scaled up, so that its mean stays. */
  #dropped(hidden: Tensor, generator: Generator): Tensor {
    const { headDropout } = this.#options;
    if (headDropout === 0) return hidden;
    const kept = bernoulliInto(empty(hidden.shape, "float32"), 1 - headDropout, generator);
    const scale = toDevice(mulScalar(kept, 1 / (1 - headDropout)), hidden.device, hidden.dtype);
    return mul(hidden, scale);
  }

  /** -> the features that stand in a stream, one below the other [visual tokens, hidden] */
  #features(rows: readonly FeatureRows[], run: LayerRunner): Tensor | undefined {
    const distinct = new Map<string, Visual>();
    for (const visual of rows.flatMap(({ visuals }) => visuals)) distinct.set(visual.key, visual);
    if (distinct.size === 0) return undefined;
    const all = this.#vision.of([...distinct.values()], run);
    const starts = new Map<string, number>();
    let start = 0;
    for (const visual of distinct.values()) {
      starts.set(visual.key, start);
      start += this.#vision.rows(visual);
    }
    const placed = rows.flatMap(({ visuals }) =>
      visuals.map((visual) => narrow(all, 0, starts.get(visual.key) ?? 0, this.#vision.rows(visual))),
    );
    return cat(placed, 0);
  }
}

/** Who reads the reward in a row: a branch of one of the prepared groups. */
interface Reader {
  readonly group: number;
  readonly branch: number;
  readonly row: number;
}

function readersOf(works: readonly PromptWork[]): Reader[] {
  const branches = works.flatMap((work) => work.branches);
  return branches.flatMap(({ readers }, row) => readers.map((reader) => ({ ...reader, row })));
}

/** The pairs of all groups that a stream holds, by the rows of their rewards. A group never reaches over two streams. */
function pairsOf(prepared: readonly PreparedPairs[], readers: readonly Reader[]): RewardPair[] {
  const rows = new Map(readers.map(({ group, branch, row }) => [`${group} ${branch}`, row]));
  const groups = [...new Set(readers.map(({ group }) => group))];
  return groups.flatMap((group) =>
    (prepared[group]?.pairs ?? []).map((pair) => ({
      ...pair,
      chosen: rows.get(`${group} ${pair.chosen}`) ?? -1,
      rejected: rows.get(`${group} ${pair.rejected}`) ?? -1,
    })),
  );
}

const answersAlone = (work: PromptWork): PromptWork[] =>
  work.branches.map((branch) => ({ ...work, branches: [branch] }));

const tokensOf = ({ prefix, branches }: PromptWork): number =>
  branches.reduce((sum, { span }) => sum + span.ids.length, prefix.span.ids.length);
