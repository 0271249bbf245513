/** @file Language modelling on answers: the cross-entropy of their tokens, as supervised fine-tuning has it. */
import type { AnswerTokens } from "../../models/prompt.ts";
import {
  crossEntropyLoss,
  indexSelect,
  linear,
  mul,
  sum,
  type Tensor,
  tensorFrom,
  toDtype,
} from "../../torch/index.ts";
import type { Objective } from "./objective.ts";

/** What a pretrained model has behind it, and what keeps one that is trained on pairs able to say what is right. */
export const language: Objective = {
  name: "language",
  about: "of the cross-entropy of chosen answers, a mean over each one's tokens: what a pretrained model has behind it",
  answers: "chosen",
  rows: "all",
  heads: ["language"],
  sums: [
    {
      name: "language_loss",
      title: "Language modelling",
      about: "cross-entropy of the chosen answers, mean over the tokens of each",
    },
  ],
  formula: () => "the cross-entropy of the chosen answers, a mean over the tokens of each",
  loss: ({ languageHead, states, answers, answerTokens }) => {
    const right = answers.flatMap(({ ids, rows, chosen }) => (chosen > 0 ? [{ ids, rows, weight: chosen }] : []));
    const loss = languageLoss(languageHead, states, right, answerTokens);
    return { loss, sums: { language_loss: loss.toFloat32Array()[0] ?? Number.NaN } };
  },
};

/** An answer whose tokens are to become likely. */
export interface WeightedAnswer {
  readonly ids: Int32Array; // [tokens of the branch]
  /** Where the tokens of its whole conversation are among the hidden states; the branch's come last. */
  readonly rows: Int32Array;
  readonly weight: number;
}

/** 2 of PyTorch's reductions would sum; 0 gives each token its own. */
const noReduction = 0;

/**
 * The sum over answers of weight * mean over its tokens, up to the one that ends the turn, of -log p(token | all before).
 *
 * @param head what turns a hidden state into a number for each token of the vocabulary [vocabulary, hidden]
 * @param hidden states of all tokens after the final norm [tokens, hidden]
 * @returns a float32 scalar
 */
export function languageLoss(
  head: Tensor,
  hidden: Tensor,
  answers: readonly WeightedAnswer[],
  { header, end }: AnswerTokens,
): Tensor {
  const rows: number[] = [];
  const targets: number[] = [];
  const weights: number[] = [];
  for (const { ids, rows: own, weight } of answers) {
    const until = ids.lastIndexOf(end) + 1;
    const first = own.length - ids.length; // of the branch, in the conversation
    for (let token = header; token < until; token++) {
      rows.push(own[first + token - 1] ?? 0);
      targets.push(ids[token] ?? 0);
      weights.push(weight / (until - header));
    }
  }
  const { device } = hidden;
  const read = indexSelect(hidden, 0, tensorFrom(Int32Array.from(rows), [rows.length], "int32", device));
  const logits = toDtype(linear(read, head), "float32");
  const target = tensorFrom(BigInt64Array.from(targets, BigInt), [targets.length], "int64", device);
  const each = crossEntropyLoss(logits, target, null, noReduction);
  return sum(mul(each, tensorFrom(Float32Array.from(weights), [weights.length], "float32", device)));
}
