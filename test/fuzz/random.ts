/** @file What every attempt to break the program is drawn from: the same in every run, unless VL_REWARD_FUZZ_SEED asks for another one. */
import { randomFrom } from "../random-groups.ts";

export type Random = (below: number) => number;

export const seed = Number(process.env.VL_REWARD_FUZZ_SEED ?? 1);

/** Draws for one attempt, whatever was drawn for those before it. */
export const randomOf = (attempt: number): Random => randomFrom(seed * 1_000_003 + attempt);

/** How many attempts a file makes: those of `npm run fuzz` are in the environment. */
export const countOf = (name: string, least: number): number => Number(process.env[`VL_REWARD_FUZZ_${name}`] ?? least);

export function oneOf<T>(random: Random, values: readonly T[]): T {
  const value = values[random(values.length)];
  if (value === undefined) throw new Error("there is nothing to choose from");
  return value;
}

/** "120 config_invalid, 3 loaded": what became of attempts, the most frequent first. */
export function tally(outcomes: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const outcome of outcomes) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([outcome, count]) => `${count} ${outcome}`)
    .join(", ");
}
