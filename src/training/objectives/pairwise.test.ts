import { expect, test } from "vitest";
import { accumulatedGradient, backward, scope, tensorFrom } from "../../torch/index.ts";
import { pairLoss, pairwiseLoss } from "./pairwise.ts";
import type { RewardPair } from "./reading.ts";

const rewards = [0.5, -1, 2, 0.25] as const;
const pairs: readonly RewardPair[] = [
  { chosen: 0, rejected: 1, margin: 0, weight: 1 },
  { chosen: 3, rejected: 2, margin: 0.5, weight: 2 },
  { chosen: 0, rejected: 2, margin: 0, weight: 0.5 },
];
const reward = (index: number): number => rewards[index] ?? Number.NaN;
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

function computed(coefficient: number): { loss: number; gradient: number[] } {
  return scope(() => {
    const leaf = tensorFrom(Float32Array.from(rewards), [rewards.length]).setRequiresGrad(true);
    const loss = pairwiseLoss(leaf, pairs, { centerRewardsCoefficient: coefficient });
    backward(loss);
    const gradient = [...(accumulatedGradient(leaf)?.toFloat32Array() ?? [])];
    return { loss: loss.toFloat32Array()[0] ?? Number.NaN, gradient };
  });
}

test.each([0, 0.01])("loss and gradient by their formula, centering coefficient %s", (coefficient) => {
  let loss = 0;
  const gradient = rewards.map(() => 0);
  for (const { chosen, rejected, margin, weight } of pairs) {
    const [c, r] = [reward(chosen), reward(rejected)];
    loss += weight * (-Math.log(sigmoid(c - r - margin)) + coefficient * (c + r) ** 2);
    const slope = -(1 - sigmoid(c - r - margin));
    gradient[chosen] = (gradient[chosen] ?? 0) + weight * (slope + 2 * coefficient * (c + r));
    gradient[rejected] = (gradient[rejected] ?? 0) + weight * (-slope + 2 * coefficient * (c + r));
  }
  const found = computed(coefficient);
  expect(found.loss).toBeCloseTo(loss, 5);
  for (const [index, value] of gradient.entries()) expect(found.gradient[index]).toBeCloseTo(value, 5);
});

test("a hopeless pair has a loss as large as its distance, not infinity", () => {
  const loss = scope(() => {
    const leaf = tensorFrom(Float32Array.of(-500, 500), [2]);
    const pair = { chosen: 0, rejected: 1, margin: 0, weight: 1 };
    return [...pairwiseLoss(leaf, [pair], { centerRewardsCoefficient: 0 }).toFloat32Array()];
  });
  expect(loss).toEqual([1000]);
});

test("one pair's loss by itself", () => {
  const options = { centerRewardsCoefficient: 0.01 };
  expect(pairLoss(0.5, -1, 0.25, options)).toBeCloseTo(-Math.log(sigmoid(1.25)) + 0.01 * 0.25, 12);
  expect(pairLoss(-500, 500, 0, { centerRewardsCoefficient: 0 })).toBe(1000);
});
