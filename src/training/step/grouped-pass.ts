/**
 * @file The forward of scoring, differentiable: all answers to a prompt share its computation in the graph. A step's
 * conversations are cut into streams of tokens; each runs forward and backward by itself and adds to the gradients, so that
 * memory follows from the stream and not from the batch.
 */
import { Features } from "../../models/features.ts";
import type { GroupPrompt, Visual } from "../../models/prompt.ts";
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
import { type AnswerTokens, languageLoss, type WeightedAnswer } from "./language-loss.ts";
import { type PairwiseLossOptions, pairwiseLoss, type RewardPair } from "./loss.ts";
import { type Member, planStreams, type Stream } from "./stream.ts";
import type { VisionFeatures } from "./vision-features.ts";

/** Answers to one prompt, ready for the model. */
export interface PreparedPairs {
  readonly prompt: GroupPrompt;
  /** The pairs that they form; `chosen` and `rejected` index the branches. */
  readonly pairs: readonly RewardPair[];
  /** The answers that a language model should give, by branch: each counts as often as it was chosen. */
  readonly right: readonly { readonly branch: number; readonly weight: number }[];
}

/** What a step minimises: the sum of these losses, each times its weight. */
export interface Objective {
  readonly pairwise: number;
  readonly language: number;
}

export interface GroupedPassOptions extends PairwiseLossOptions {
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
  /** What makes numbers for each token of the vocabulary of a hidden state: the embedding, where they are tied. */
  readonly languageHead: Tensor;
  /** Where an answer's own tokens begin and end. */
  readonly answerTokens: AnswerTokens;
}

/** For each of the PreparedPairs, the reward of each branch. */
export type Rewards = readonly (readonly number[])[];

export interface PassResult {
  /** Sums over the pairs, and over the right answers, each weighted; not yet times the objective's weights. */
  readonly pairwise: number;
  readonly language: number;
  /** NaN where the objective asks for none. */
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
   * Adds the gradients of `scale` times the summed losses to those of the trained weights.
   *
   * @param seed of what is dropped, below 2^32; the same one drops the same
   */
  backpropagate(prepared: readonly PreparedPairs[], objective: Objective, scale: number, seed: number): PassResult {
    using generator = new Generator(seed);
    const sums = { pairwise: 0, language: 0 };
    let number = 0;
    const rewards = this.#run(prepared, (stream, read) => {
      this.#dropFrom((seed + number++) % 2 ** 32);
      const checkpointing = this.#options.checkpointing ? new Checkpointing() : undefined;
      const run = checkpointing?.run ?? runLayers;
      const rows = new RowGradients();
      const wanted = objective.language > 0 ? "all" : "ends";
      const how = { run, lookUp: rows.lookUp };
      const hidden = stream.forward(this.#features(stream.visuals, run), how, wanted);
      const losses: Tensor[] = [];
      if (objective.pairwise > 0) {
        const values = this.#model.head.forward(this.#dropped(hidden.ends, generator));
        const loss = pairwiseLoss(values, pairsOf(prepared, stream.members), this.#options);
        losses.push(mulScalar(loss, objective.pairwise * scale));
        read(values);
        sums.pairwise += loss.toFloat32Array()[0] ?? Number.NaN;
      }
      if (objective.language > 0 && hidden.all) {
        const answers = rightAnswers(prepared, stream.members, hidden.rows);
        const loss = languageLoss(this.#options.languageHead, hidden.all, answers, this.#options.answerTokens);
        losses.push(mulScalar(loss, objective.language * scale));
        sums.language += loss.toFloat32Array()[0] ?? Number.NaN;
      }
      backward(losses.reduce((sum, loss) => add(sum, loss)));
      checkpointing?.backward();
      rows.collect();
    });
    return { ...sums, rewards };
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

/** The right answers that a stream holds, with the rows of their tokens. */
function rightAnswers(
  prepared: readonly PreparedPairs[],
  members: readonly Member[],
  rows: readonly Int32Array[],
): WeightedAnswer[] {
  return members.flatMap(({ group, branch }, index) => {
    const { prompt, right = [] } = prepared[group] ?? {};
    const weight = right.find((answer) => answer.branch === branch)?.weight;
    const span = prompt?.branches[branch];
    const own = rows[index];
    return weight !== undefined && span && own ? [{ ids: span.ids, rows: own, weight }] : [];
  });
}
