/** @file The pairwise loss (Bradley and Terry; Skywork-VL Reward, arXiv 2505.07263, section 3.2). */
import { short } from "../../report/numbers.ts";
import {
  add,
  indexSelect,
  logSigmoid,
  mul,
  mulScalar,
  neg,
  sub,
  sum,
  type Tensor,
  tensorFrom,
} from "../../torch/index.ts";
import type { Objective } from "./objective.ts";
import type { LossSettings, RewardPair } from "./reading.ts";

/** As Skywork-VL Reward trains. What a step tells of its pairs, accuracy and margin, needs no sum of this one's. */
export const pairwise: Objective = {
  name: "pairwise",
  about: "of the loss over pairs; 0: rejected answers are not even computed",
  answers: "all",
  rows: "ends",
  heads: ["reward"],
  sums: [],
  formula: ({ centerRewardsCoefficient: coefficient }) =>
    `-log sigmoid(chosen - rejected)${coefficient > 0 ? ` + ${short(coefficient)} (chosen + rejected)^2` : ""}`,
  loss: ({ rewards, pairs, settings }) => ({ loss: pairwiseLoss(rewards, pairs, settings), sums: {} }),
};

/**
 * The sum over pairs of weight * (-log sigmoid(chosen - rejected - margin) + coefficient * (chosen + rejected)^2).
 *
 * @param rewards [answers] float32
 * @returns a scalar
 */
export function pairwiseLoss(
  rewards: Tensor,
  pairs: readonly RewardPair[],
  { centerRewardsCoefficient }: LossSettings,
): Tensor {
  const column = (values: readonly number[], dtype: "float32" | "int32"): Tensor =>
    dtype === "int32"
      ? tensorFrom(Int32Array.from(values), [values.length], dtype, rewards.device)
      : tensorFrom(Float32Array.from(values), [values.length], dtype, rewards.device);
  const rewardsOf = (side: "chosen" | "rejected"): Tensor =>
    indexSelect(
      rewards,
      0,
      column(
        pairs.map((pair) => pair[side]),
        "int32",
      ),
    );
  const [chosen, rejected] = [rewardsOf("chosen"), rewardsOf("rejected")];
  const margins = column(
    pairs.map(({ margin }) => margin),
    "float32",
  );
  let losses = neg(logSigmoid(sub(sub(chosen, rejected), margins)));
  if (centerRewardsCoefficient > 0) {
    const total = add(chosen, rejected);
    losses = add(losses, mulScalar(mul(total, total), centerRewardsCoefficient));
  }
  return sum(
    mul(
      losses,
      column(
        pairs.map(({ weight }) => weight),
        "float32",
      ),
    ),
  );
}

/** The loss of one pair, not weighted, in double precision: what the sum above is made of. */
export function pairLoss(
  chosen: number,
  rejected: number,
  margin: number,
  { centerRewardsCoefficient }: LossSettings,
): number {
  const lead = chosen - rejected - margin;
  const missed = lead > 0 ? Math.log1p(Math.exp(-lead)) : Math.log1p(Math.exp(lead)) - lead; // -log sigmoid(lead)
  return missed + centerRewardsCoefficient * (chosen + rejected) ** 2;
}
