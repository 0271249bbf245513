/**
 * @file The learning rate over the steps of a stage, as transformers 4.51.3 has it: a linear rise from 0, then a cosine
 * or a line down to 0, or no change.
 */

export type Schedule = "cosine" | "linear" | "constant";

/** How many steps warm up: the ratio of all, rounded up. */
export function warmupStepCount(ratio: number, totalSteps: number): number {
  return Math.ceil(ratio * totalSteps);
}

/**
 * What the stage's learning rate is multiplied with in a step.
 *
 * @param step of the stage, from 0. The first one of a warm-up has the factor 0, as in transformers.
 * @param totalSteps of the stage, warm-up included
 */
export function learningRateFactor(schedule: Schedule, step: number, warmupSteps: number, totalSteps: number): number {
  if (step < warmupSteps) return step / warmupSteps;
  if (schedule === "constant") return 1;
  const steps = Math.max(1, totalSteps - warmupSteps);
  if (schedule === "linear") return Math.max(0, (totalSteps - step) / steps);
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((step - warmupSteps) / steps))));
}
