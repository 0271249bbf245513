import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { learningRateFactor, type Schedule, warmupStepCount } from "./schedule.ts";

interface Case {
  readonly schedule: Schedule;
  readonly steps: number;
  readonly ratio: number;
  readonly warmup: number;
  readonly factors: readonly number[];
}

const fixture = new URL("../../../test/fixtures/training/schedules/schedules.json", import.meta.url);
const cases: readonly Case[] = JSON.parse(readFileSync(fixture, "utf8"));

describe.each(cases)("$schedule over $steps steps, warming up for $ratio of them", (reference) => {
  const { schedule, steps, ratio, warmup, factors } = reference;

  it("warms up for as many steps as transformers", () => {
    expect(warmupStepCount(ratio, steps)).toBe(warmup);
  });

  it("has the factors of transformers in every step", () => {
    const ours = factors.map((_, step) => learningRateFactor(schedule, step, warmup, steps));
    for (const [step, factor] of factors.entries()) expect(ours[step], `step ${step}`).toBeCloseTo(factor, 14);
  });
});

it("covers every schedule, with and without warm-up", () => {
  expect(new Set(cases.map(({ schedule }) => schedule))).toEqual(new Set(["cosine", "linear", "constant"]));
  expect(cases.some(({ warmup }) => warmup === 0) && cases.some(({ warmup }) => warmup > 1)).toBe(true);
});
