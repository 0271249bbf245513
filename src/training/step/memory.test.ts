import { expect, test } from "vitest";
import type { Shape } from "../../models/backbone.ts";
import { planTrainingMemory } from "./memory.ts";

/** The published 7B. */
const shape: Shape = {
  decoder: {
    vocabulary: 152_064,
    hidden: 3584,
    intermediate: 18_944,
    layers: 28,
    heads: 28,
    keyValueHeads: 4,
    headWidth: 128,
    maxPositions: 128_000,
  },
};

test.each([
  [2, 12e9],
  [4, 16e9],
] as const)("language modelling of %i-byte numbers leaves room for its logits in %d bytes", (width, bytes) => {
  const plan = (logits: boolean) => planTrainingMemory(shape, width, bytes, { checkpointing: "auto", logits });
  const [without, withLogits] = [plan(false), plan(true)];
  expect(withLogits.tokenBudget).toBeLessThan(without.tokenBudget);
  // Logits, their gradient and their log-softmax, the last at least in float32.
  expect(withLogits.tokenBudget * 152_064 * (2 * width + 4)).toBeLessThan(bytes / 2);
  expect(withLogits.featureCache).toBe(without.featureCache);
});

test("a budget that was asked for stands", () => {
  const asked = { checkpointing: true, tokenBudget: 1000, logits: true } as const;
  expect(planTrainingMemory(shape, 2, 1e9, asked)).toMatchObject({ tokenBudget: 1000, checkpointing: true });
});
