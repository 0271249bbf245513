/**
 * @file Groups for tests of the engine, which is tested as its users meet it: through the package's own name, on dist.
 */

import path from "node:path";
import type { Group, GroupResult, Message, RewardEngine } from "vl-reward";

export const fixtures = path.join(import.meta.dirname, "../fixtures/parity");

export const user = (text: string, ...images: string[]): Message => ({
  role: "user",
  content: [...images.map((image) => ({ type: "image" as const, image })), { type: "text", text }],
});

export const assistant = (content: string): Message => ({ role: "assistant", content });

export const group = (prefix: Message[], ...answers: string[]): Group => ({
  prefix,
  branches: answers.map(assistant),
  baseFolder: fixtures,
});

export async function scored(engine: RewardEngine, groups: Iterable<Group>): Promise<GroupResult[]> {
  const results: GroupResult[] = [];
  for await (const result of engine.score(groups)) results.push(result);
  return results;
}

export function scoresOf(result: GroupResult | undefined): readonly number[] {
  if (!result || "error" in result) throw result?.error ?? new Error("no result");
  return result.scores;
}
