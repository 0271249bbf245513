/**
 * @file The forward of scoring, differentiable: all answers to a prompt share its computation in the graph. A step's
 * conversations are cut into streams of tokens; each runs forward and backward by itself and adds to the gradients, so that
 * memory follows from the stream and not from the batch.
 */
import { Features } from "../../models/features.ts";
import type { AnswerTokens, GroupPrompt, Visual } from "../../models/prompt.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import { Checkpointing, type LayerRunner, type LowRankUpdate, RowGradients, runLayers } from "../../nn/index.ts";
import {
  add,
  backward,
  bernoulliInto,
  empty,
  Generator,
  mul,
  mulScalar,
  noGrad,
  scope,
  type Tensor,
  toDevice,
} from "../../torch/index.ts";
import { needsOf, type WeighedObjective } from "../objectives/objective.ts";
import type { LossSettings, RewardPair } from "../objectives/reading.ts";
import { type ReadAnswer, Reading } from "../objectives/reading.ts";
import { type Member, planStreams, type Stream } from "./stream.ts";
import type { VisionFeatures } from "./vision-features.ts";

/** Answers to one prompt, ready for the model. */
export interface PreparedPairs {
  readonly prompt: GroupPrompt;
  /** The pairs that they form; `chosen` and `rejected` index the branches. */
  readonly pairs: readonly RewardPair[];
  /** The answers that a language model should give, by branch: each counts as often as it was chosen. */
  readonly right: readonly { readonly branch: number; readonly weight: number }[];
  /** By branch, log-probabilities under a reference policy, where the record has them. */
  readonly referenceLogProbs?: readonly number[] | undefined;
}

export interface GroupedPassOptions {
  /** Tokens of one stream; a single prompt with its answers may exceed it. */
  readonly tokenBudget: number;
  /** Conversations about one picture, or with one prompt, whose tokens are at most so many together become a tree. */
  readonly treeTokens: number;
  /** Whether layers are computed a second time instead of kept. */
  readonly checkpointing: boolean;
  /** Whether answers to one prompt share its computation. Without it each answer is computed with a prompt of its own. */
  readonly sharing: boolean;
  /** The part of the hidden state that is dropped before the head, while training. */
  readonly headDropout: number;
  readonly loss: LossSettings;
  /** What makes numbers for each token of the vocabulary of a hidden state, where an objective asks for it. */
  readonly languageHead: Tensor | undefined;
  /** Where an answer's own tokens begin and end. */
  readonly answerTokens: AnswerTokens;
}

/** For each of the PreparedPairs, the reward of each branch. */
export type Rewards = readonly (readonly number[])[];

export interface PassResult {
  /** By objective: its loss, not yet times its weight. */
  readonly losses: Readonly<Record<string, number>>;
  /** Those of all objectives, by name. */
  readonly sums: Readonly<Record<string, number>>;
  /** NaN where no objective asks for them. */
  readonly rewards: Rewards;
}

export class GroupedPass {
  readonly #model: RewardModel;
  readonly #vision: VisionFeatures | undefined;
  readonly #updates: readonly LowRankUpdate[];
  readonly #options: GroupedPassOptions;

  /**
   * @param vision none where the model reads text alone
   * @param updates those that the model's layers have
   */
  constructor(
    model: RewardModel,
    vision: VisionFeatures | undefined,
    updates: readonly LowRankUpdate[],
    options: GroupedPassOptions,
  ) {
    this.#model = model;
    this.#vision = vision;
    this.#updates = updates;
    this.#options = options;
  }

  /**
   * Adds the gradients of `scale` times the summed losses, each times its weight, to those of the trained weights.
   *
   * @param seed of what is dropped, below 2^32; the same one drops the same
   */
  backpropagate(
    prepared: readonly PreparedPairs[],
    weighed: readonly WeighedObjective[],
    scale: number,
    seed: number,
  ): PassResult {
    using generator = new Generator(seed);
    const needs = needsOf(weighed);
    const losses: Record<string, number> = {};
    const sums: Record<string, number> = {};
    let number = 0;
    const rewards = this.#run(prepared, (stream, read) => {
      this.#dropFrom((seed + number++) % 2 ** 32);
      const checkpointing = this.#options.checkpointing ? new Checkpointing() : undefined;
      const run = checkpointing?.run ?? runLayers;
      const rows = new RowGradients();
      const how = { run, lookUp: rows.lookUp };
      const hidden = stream.forward(this.#features(stream.visuals, run), how, needs.rows);
      const values = needs.heads.has("reward")
        ? this.#model.head.forward(this.#dropped(hidden.ends, generator))
        : undefined;
      if (values) read(values);
      const reading = new Reading({
        pairs: pairsOf(prepared, stream.members),
        answers: answersOf(prepared, stream.members, hidden.rows),
        answerTokens: this.#options.answerTokens,
        settings: this.#options.loss,
        rewards: values,
        states: needs.rows === "all" ? hidden.all : undefined,
        languageHead: this.#options.languageHead,
      });
      const parts = weighed.map(({ objective, weight, state }) => {
        const found = objective.loss(reading, state);
        addTo(losses, { [objective.name]: found.loss.toFloat32Array()[0] ?? Number.NaN });
        addTo(sums, found.sums);
        return mulScalar(found.loss, weight * scale);
      });
      backward(parts.reduce((sum, part) => add(sum, part)));
      checkpointing?.backward();
      rows.collect();
    });
    return { losses, sums, rewards };
  }

  /** The rewards alone, without gradients and with nothing dropped. */
  evaluate(prepared: readonly PreparedPairs[]): Rewards {
    this.#dropFrom(undefined);
    return noGrad(() =>
      this.#run(prepared, (stream, read) => {
        const how = { run: runLayers, lookUp: new RowGradients().lookUp };
        const { ends } = stream.forward(this.#features(stream.visuals, runLayers), how, "ends");
        read(this.#model.head.forward(ends));
      }),
    );
  }

  #dropFrom(seed: number | undefined): void {
    for (const update of this.#updates) update.dropoutSeed = seed;
  }

  #run(
    prepared: readonly PreparedPairs[],
    runStream: (stream: Stream, read: (values: Tensor) => void) => void,
  ): Rewards {
    const rewards = prepared.map(({ prompt }) => new Array<number>(prompt.branches.length).fill(Number.NaN));
    const { tokenBudget, treeTokens, sharing } = this.#options;
    const streams = planStreams(
      this.#model,
      prepared.map(({ prompt }) => prompt),
      { tokenBudget, treeTokens, sharing },
    );
    for (const stream of streams) {
      scope(() =>
        runStream(stream, (values) => {
          const numbers = values.toFloat32Array();
          for (const [row, { group, branch }] of stream.members.entries()) {
            (rewards[group] ?? [])[branch] = numbers[row] ?? Number.NaN;
          }
        }),
      );
      this.#vision?.settle();
    }
    return rewards;
  }

  /** Dropout as TRL's value head has it: what is left is scaled up, so that its mean stays. */
  #dropped(hidden: Tensor, generator: Generator): Tensor {
    const { headDropout } = this.#options;
    if (headDropout === 0) return hidden;
    const kept = bernoulliInto(empty(hidden.shape, "float32"), 1 - headDropout, generator);
    const scale = toDevice(mulScalar(kept, 1 / (1 - headDropout)), hidden.device, hidden.dtype);
    return mul(hidden, scale);
  }

  /** -> the features of pictures and videos in this order, one below the other: a row for each visual token */
  #features(visuals: readonly Visual[], run: LayerRunner): Features | undefined {
    const distinct = new Map(visuals.map((visual) => [visual.key, visual]));
    if (distinct.size === 0 || !this.#vision) return undefined;
    const all = this.#vision.of([...distinct.values()], run);
    if (distinct.size === visuals.length) return all;
    const starts = new Map<string, number>();
    let start = 0;
    for (const { key, tokens } of distinct.values()) {
      starts.set(key, start);
      start += tokens;
    }
    return Features.joined(visuals.map(({ key, tokens }) => all.narrow(starts.get(key) ?? 0, tokens)));
  }
}

/** The pairs of the groups that a stream holds, by the rows of their rewards. A group never reaches over two streams. */
function pairsOf(prepared: readonly PreparedPairs[], members: readonly Member[]): RewardPair[] {
  const rows = new Map(members.map(({ group, branch }, row) => [`${group} ${branch}`, row]));
  const groups = [...new Set(members.map(({ group }) => group))];
  return groups.flatMap((group) =>
    (prepared[group]?.pairs ?? []).map((pair) => ({
      ...pair,
      chosen: rows.get(`${group} ${pair.chosen}`) ?? -1,
      rejected: rows.get(`${group} ${pair.rejected}`) ?? -1,
    })),
  );
}

/** The answers that a stream holds, in its order, with the rows of their tokens. */
function answersOf(
  prepared: readonly PreparedPairs[],
  members: readonly Member[],
  rows: readonly Int32Array[],
): ReadAnswer[] {
  return members.map(({ group, branch }, index) => {
    const { prompt, right = [], referenceLogProbs } = prepared[group] ?? {};
    return {
      ids: prompt?.branches[branch]?.ids ?? new Int32Array(),
      rows: rows[index] ?? new Int32Array(),
      chosen: right.find((answer) => answer.branch === branch)?.weight ?? 0,
      referenceLogProb: referenceLogProbs?.[branch],
    };
  });
}

function addTo(sums: Record<string, number>, found: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(found)) sums[name] = (sums[name] ?? 0) + value;
}
