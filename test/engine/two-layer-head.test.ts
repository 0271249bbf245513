/** @file Scores of a model whose reward head has two layers: the same bits alone and in company, as with one layer. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Part } from "../../src/conversation.ts";
import { type ComputeOptions, PassRunner } from "../../src/engine/pass/pass.ts";
import { familyOf } from "../../src/models/families.ts";
import type { GroupPrompt } from "../../src/models/prompt.ts";
import { setThreadCount, threadCount } from "../../src/torch/index.ts";
import { safetensors } from "../safetensors-file.ts";
import { randomWeights, stored } from "../small-checkpoint.ts";

const parity = path.join(import.meta.dirname, "../fixtures/parity");
const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-two-layers-"));
const [hidden, width] = [64, 80];
const groups: GroupPrompt[] = [];

beforeAll(async () => {
  cpSync(path.join(parity, "plain"), folder, { recursive: true });
  const shapes = new Map([
    ["v_head.summary.0.weight", [width, hidden]],
    ["v_head.summary.0.bias", [width]],
    ["v_head.summary.2.weight", [1, width]],
    ["v_head.summary.2.bias", [1]],
  ]);
  const entries = [...randomWeights(shapes, 3)].map(([name, weight]) => [name, stored(weight, "float32")] as const);
  writeFileSync(path.join(folder, "value_head.safetensors"), safetensors(Object.fromEntries(entries), 64));
  const processor = await familyOf(folder).loadProcessor({ limits: {} });
  for (let number = 0; number < 14; number++) {
    const parts: Part[] = [{ type: "text", text: `What is ${"so ".repeat((7 * number) % 60)}odd about ${number}?` }];
    if (number % 3 === 0) parts.push({ type: "image", image: `media/${number % 2 === 0 ? "odd.jpg" : "tiny.png"}` });
    const answers = Array.from(
      { length: 1 + (number % 4) },
      (_, i) => `${"Well, ".repeat((5 * i) % 23)}${number + i}.`,
    );
    const branches = answers.map((content) => ({ role: "assistant" as const, content }));
    groups.push(await processor.prepare([{ role: "user", content: parts }], branches, { baseFolder: parity }));
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

function scored(options: Partial<ComputeOptions>, calls: readonly (readonly GroupPrompt[])[], threads = 1): number[] {
  const runner = PassRunner.load({ folder, dtype: "float32", device: "cpu", ...options });
  const before = threadCount();
  setThreadCount(threads); // after loading, which takes one thread for small layers
  try {
    return calls.flatMap((call) => runner.score(call)).flat();
  } finally {
    setThreadCount(before);
    runner.dispose();
  }
}

it("scores have the same bits alone, in company, in small passes and on several threads", () => {
  const company = scored({}, [groups]);
  expect(new Set(company).size).toBeGreaterThan(groups.length); // answers are told apart
  const alone = groups.flatMap((group) => group.branches.map((branch) => [{ ...group, branches: [branch] }]));
  for (const threads of [1, 2, 4]) {
    expect(scored({ featureCacheBytes: 0, prefixCacheBytes: 0 }, alone, threads)).toEqual(company);
    for (const tokenBudget of [1, 100, 700]) expect(scored({ tokenBudget }, [groups], threads)).toEqual(company);
  }
  const reversed = scored({}, [[...groups].reverse()]);
  expect(reversed.toSorted()).toEqual(company.toSorted());
});
