/** @file What each token of an answer did to the reward. */

import type { TokenReward } from "../api.ts";

export interface TokenStep {
  readonly text: string;
  readonly reward: number;
  /** To the reward of the token before. */
  readonly change: number;
}

/** Tokens that are text; what the template writes behind the answer counts with the last one. The first begins at its own reward. */
export function stepsOf(tokens: readonly TokenReward[]): TokenStep[] {
  const steps: TokenStep[] = [];
  let before = tokens[0]?.reward ?? 0;
  for (const { text, reward } of tokens) {
    const change = reward - before;
    before = reward;
    const last = steps.at(-1);
    if (text === "" && last) steps[steps.length - 1] = { text: last.text, reward, change: last.change + change };
    else if (text !== "") steps.push({ text, reward, change });
  }
  return steps;
}

/** -3 to 3: how strong a change is among all of the answers that are shown. */
export function strength(change: number, largest: number): number {
  if (largest === 0) return 0;
  const share = Math.abs(change) / largest;
  const level = share < 0.08 ? 0 : share < 0.3 ? 1 : share < 0.65 ? 2 : 3;
  return Math.sign(change) * level;
}
