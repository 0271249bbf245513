/**
 * @file What a pass answers with. A reader turns hidden states into one answer for each branch; what is to be read is named by
 * plain data, which crosses threads, and several readers can be asked of one pass. A new reader is a file here, its
 * request and its answer below, and a line in readers.ts.
 */
import type { AnswerTokens } from "../../models/prompt.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import type { Hidden } from "../pass/stream.ts";

/** What to read of every answer of a group. */
export type ReadRequest =
  /** The reward of the answer, at the conversation's last token. */
  | { readonly kind: "reward" }
  /** The reward at every token of the branch, as if the answer ended there. */
  | { readonly kind: "rewards" }
  /** The mean of the last layer's hidden states, or the last one. */
  | {
      readonly kind: "pooled";
      readonly over: "prompt" | "answer" | "conversation";
      readonly how: "mean" | "last";
      /** Whether it is scaled to length 1. */
      readonly normalise: boolean;
    }
  /**
   * The log-probabilities of the answer's tokens, the one that ends its turn included. Where the
   * tokenizer makes one token of a newline at its beginning and the template's before it, that one is not among them.
   */
  | { readonly kind: "logProbs" }
  /** The numbers for each token of the vocabulary that could follow, at some of the branch's tokens. */
  | {
      readonly kind: "nextToken";
      /** Indices in the branch's ids; negative ones count from its end. */
      readonly positions: readonly number[];
    };

/** What each kind of request is answered with, for one branch. */
export interface ReadAnswers {
  readonly reward: number;
  readonly rewards: Float32Array; // [tokens of the branch]
  readonly pooled: Float32Array; // [hidden]
  readonly logProbs: { readonly sum: number; readonly each: Float32Array }; // [tokens of the answer]
  readonly nextToken: Float32Array; // [positions, vocabulary]
}

export type ReadAnswer = ReadAnswers[ReadRequest["kind"]];

/** A branch whose hidden states a stream has computed. */
export interface ReadBranch {
  readonly ids: Int32Array; // [tokens]
  readonly answerTokens: AnswerTokens;
}

export interface Reader<Answer> {
  /** Which hidden states it reads: the conversation's last one, those of the branch, or those of its prompt as well. */
  readonly rows: "end" | "branch" | "conversation";
  /**
   * -> an answer for each of `asked`
   *
   * @param hidden of a stream
   * @param branches all of the stream's, in the order of hidden.ends
   * @param asked which of them
   */
  read(hidden: Hidden, branches: readonly ReadBranch[], asked: readonly number[]): Answer[];
}

/** What readers need of the model. */
export type ReadModel = Pick<RewardModel, "head" | "backbone" | "languageHead">;
