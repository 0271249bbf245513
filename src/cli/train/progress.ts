/**
 * @file How far training is and how it goes, on standard error.
 */

import { duration, percent, percentRange, short } from "../../report/numbers.ts";
import type { Evaluation, StepMetrics } from "../../training/output/metrics.ts";
import { LiveLine } from "../live-line.ts";

export class TrainProgress extends LiveLine {
  readonly #averages = new RecentAverages();
  #total = 0;
  #first = 0;
  #start = performance.now();

  /**
   * Starts the clock of rate and remaining time: the first step begins.
   *
   * @param afterStep the step that the run goes on from, 0 for a new one
   * @param totalSteps of the whole run, all stages
   */
  begin(afterStep: number, totalSteps: number): void {
    this.#first = afterStep;
    this.#total = totalSteps;
    this.#start = performance.now();
  }

  step(metrics: StepMetrics): void {
    this.#averages.add(metrics);
    this.show(() => {
      const seconds = (performance.now() - this.#start) / 1000;
      const left = (seconds / (metrics.step - this.#first)) * (this.#total - metrics.step);
      return stepText(metrics, this.#total, left, this.#averages);
    });
  }

  /** Says what a validation gave; the line stays. */
  evaluation({ step, overall }: Evaluation): void {
    const { accuracy, interval, loss, margin, pairs } = overall;
    this.say(
      `step ${step}: validation accuracy ${percent(accuracy)} (95%: ${percentRange(interval)}), ` +
        `loss ${short(loss)}, margin ${short(margin)}, ${pairs} pairs`,
    );
  }

  /** Says how the run went: "1200 steps in 3 h 40 min". */
  end(steps: number): void {
    const seconds = (performance.now() - this.#start) / 1000;
    this.say(`${steps} step${steps === 1 ? "" : "s"} in ${duration(seconds)}`);
  }
}

/** Means over the last steps, newer ones counting more: about as many as `recent`. */
export class RecentAverages {
  #sums = { pairs: 0, seconds: 0, loss: 0, ranked: 0, accuracy: 0, margin: 0 };

  add({ pairs, seconds, loss, accuracy, margin }: StepMetrics): void {
    const keep = 1 - 1 / recent;
    const sum = (before: number, value: number) => keep * before + value;
    // Language modelling alone ranks no answers.
    const ranked = Number.isFinite(accuracy) ? pairs : 0;
    const ofRanked = (value: number): number => (ranked > 0 ? value * ranked : 0);
    this.#sums = {
      pairs: sum(this.#sums.pairs, pairs),
      seconds: sum(this.#sums.seconds, seconds),
      loss: sum(this.#sums.loss, loss * pairs),
      ranked: sum(this.#sums.ranked, ranked),
      accuracy: sum(this.#sums.accuracy, ofRanked(accuracy)),
      margin: sum(this.#sums.margin, ofRanked(margin)),
    };
  }

  /** Of pairs, so that a small last batch counts for as much as it holds. */
  get loss(): number {
    return this.#sums.loss / this.#sums.pairs;
  }

  /** NaN where no pair was ranked. */
  get accuracy(): number {
    return this.#sums.accuracy / this.#sums.ranked;
  }

  get margin(): number {
    return this.#sums.margin / this.#sums.ranked;
  }

  get pairsPerSecond(): number {
    return this.#sums.pairs / this.#sums.seconds;
  }
}

const recent = 20; // steps

/**
 * "step 120/4000, 3 h 5 min left, loss 0.412, accuracy 81.3%, margin 1.07, 5.3 pairs/s, multimodal": what a narrow
 * terminal cuts off is what matters least.
 *
 * @param left seconds
 */
export function stepText({ stage, step }: StepMetrics, total: number, left: number, recent: RecentAverages): string {
  const rate = recent.pairsPerSecond;
  return [
    `step ${step}/${total}`,
    ...(step < total ? [`${duration(left)} left`] : []),
    `loss ${short(recent.loss)}`,
    ...(Number.isNaN(recent.accuracy)
      ? []
      : [`accuracy ${percent(recent.accuracy)}`, `margin ${short(recent.margin)}`]),
    rate < 1 ? `${(rate * 60).toFixed(1)} pairs/min` : `${rate.toFixed(1)} pairs/s`,
    stage,
  ].join(", ");
}
