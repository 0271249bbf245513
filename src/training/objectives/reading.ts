/** @file What a pass has computed of one stream, and what is known of the answers in it: what a loss is made of. */

import { VlRewardError } from "../../errors.ts";
import type { AnswerTokens } from "../../models/prompt.ts";
import type { Tensor } from "../../torch/index.ts";

/** What `loss` of the configuration says, for all stages. */
export interface LossSettings {
  /** Draws the sum of a pair's rewards to 0 (Eisenstein et al., arXiv 2312.09244; TRL's center_rewards_coefficient). */
  readonly centerRewardsCoefficient: number;
}

/** A pair among answers that stand side by side. */
export interface RewardPair {
  readonly chosen: number; // its place among them
  readonly rejected: number;
  /** By how much the chosen answer should win; 0 where nothing is known. */
  readonly margin: number;
  /** Of the pair's loss. */
  readonly weight: number;
}

/** An answer with its conversation. */
export interface ReadAnswer {
  /** Of its turn [tokens], as `answerTokens` describes it. */
  readonly ids: Int32Array;
  /** Where the tokens of its whole conversation are among `states`; the turn's come last. */
  readonly rows: Int32Array;
  /** In how many pairs it is the better one. */
  readonly chosen: number;
  /** Its log-probability under a reference policy, where its record has one. */
  readonly referenceLogProb: number | undefined;
}

export interface ReadingParts {
  /** Of groups that are in the stream as a whole; places are those in `answers`. None where only chosen answers are there. */
  readonly pairs: readonly RewardPair[];
  readonly answers: readonly ReadAnswer[];
  readonly answerTokens: AnswerTokens;
  readonly settings: LossSettings;
  readonly rewards: Tensor | undefined;
  readonly states: Tensor | undefined;
  readonly languageHead: Tensor | undefined;
}

/** Tensors are there if the objective asks for them. */
export class Reading {
  readonly #parts: ReadingParts;

  constructor(parts: ReadingParts) {
    this.#parts = parts;
  }

  get pairs(): readonly RewardPair[] {
    return this.#parts.pairs;
  }

  get answers(): readonly ReadAnswer[] {
    return this.#parts.answers;
  }

  get answerTokens(): AnswerTokens {
    return this.#parts.answerTokens;
  }

  get settings(): LossSettings {
    return this.#parts.settings;
  }

  /** Of each answer [answers], float32, with the gradient's way back. Of the reward head. */
  get rewards(): Tensor {
    return asked(this.#parts.rewards, 'heads: ["reward"]');
  }

  /** Of all tokens after the final norm [tokens, hidden]. */
  get states(): Tensor {
    return asked(this.#parts.states, 'rows: "all"');
  }

  /** What turns a state into a number for each token of the vocabulary [vocabulary, hidden]. */
  get languageHead(): Tensor {
    return asked(this.#parts.languageHead, 'heads: ["language"]');
  }
}

function asked(tensor: Tensor | undefined, by: string): Tensor {
  if (tensor) return tensor;
  throw new VlRewardError("internal_error", `An objective reads what it has not asked for with ${by}.`);
}
