import { describe, expect, it } from "vitest";
import type { StepMetrics } from "../../training/output/metrics.ts";
import { RecentAverages, stepText } from "./progress.ts";

function metricsOf(step: number, loss: number, pairs = 4): StepMetrics {
  const rest = { sums: {}, accuracy: 0.75, margin: 1.25, gradNorm: 1, learningRate: 1e-5, tokens: 100, seconds: 2 };
  return { stage: "multimodal", step, loss, pairs, ...rest };
}

describe("progress of training", () => {
  it("tells steps, remaining time, means and rate", () => {
    const recent = new RecentAverages();
    recent.add(metricsOf(1, 0.5));
    expect(stepText(metricsOf(1, 0.5), 4000, 11_100, recent)).toBe(
      "step 1/4000, 3 h 5 min left, loss 0.5, accuracy 75.0%, margin 1.25, 2.0 pairs/s, multimodal",
    );
  });

  it("gives a slow rate by the minute, and no remaining time at the end", () => {
    const recent = new RecentAverages();
    recent.add({ ...metricsOf(9, 0.5), seconds: 8 });
    expect(stepText(metricsOf(9, 0.5), 9, 0, recent)).toBe(
      "step 9/9, loss 0.5, accuracy 75.0%, margin 1.25, 30.0 pairs/min, multimodal",
    );
  });

  it("is silent about accuracy where nothing was ranked, and counts only what was", () => {
    const recent = new RecentAverages();
    const language = { ...metricsOf(1, 2), accuracy: Number.NaN, margin: Number.NaN };
    recent.add(language);
    expect(stepText(language, 2, 60, recent)).toBe("step 1/2, 60 s left, loss 2, 2.0 pairs/s, multimodal");
    recent.add(metricsOf(2, 2));
    expect([recent.accuracy, recent.margin]).toEqual([0.75, 1.25]);
  });

  it("weighs newer steps more, and each by its pairs", () => {
    const recent = new RecentAverages();
    recent.add(metricsOf(1, 1, 20));
    recent.add(metricsOf(2, 0, 1));
    expect(recent.loss).toBeCloseTo((0.95 * 20) / (0.95 * 20 + 1), 12);
    for (let step = 3; step < 1000; step++) recent.add(metricsOf(step, 0.25));
    expect(recent.loss).toBeCloseTo(0.25, 12);
    expect(recent.pairsPerSecond).toBeCloseTo(2, 12);
  });
});
