import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { plainReward, wholeConversation } from "../../../test/conversation.ts";
import { randomFrom, randomGroup } from "../../../test/random-groups.ts";
import type { GroupPrompt, Span } from "../../models/prompt.ts";
import { RewardModel } from "../../models/reward-model.ts";
import { placement } from "../../nn/index.ts";
import { liveTensors, noGrad, scope, setThreadCount, threadCount } from "../../torch/index.ts";
import { type ComputeOptions, PassRunner } from "./pass.ts";

const fixtures = path.join(import.meta.dirname, "../../../test/fixtures");

/**
 * One checkpoint or more of every family; the seeds make groups that reach every part. More threads than these would change bits
 * where a layer has 24, 40 or 72 columns: thread-count.ts keeps such models to two.
 */
const checkpoints: { checkpoint: string; seed: number; threads: number[] }[] = [
  { checkpoint: "parity/plain", seed: 5, threads: [1, 2, 3, 4, 8, 16] },
  { checkpoint: "parity/grouped", seed: 7, threads: [1, 2] },
  { checkpoint: "qwen3/plain", seed: 5, threads: [1, 2, 3, 4, 8, 16] },
  { checkpoint: "qwen3/odd", seed: 3, threads: [1, 2] },
  { checkpoint: "qwen3/thoughts/checkpoint", seed: 5, threads: [1, 2] },
];

/** The reference's way: every conversation by itself, all its tokens through every layer. */
function plainScore(model: RewardModel, group: GroupPrompt, branch: Span): number {
  const conversation = wholeConversation(group, branch);
  const [score = Number.NaN] = noGrad(() => scope(() => plainReward(model, conversation).toFloat32Array()));
  return score;
}

describe.each(checkpoints)("checkpoint $checkpoint", ({ checkpoint, seed, threads: counts }) => {
  const folder = path.join(fixtures, checkpoint);
  const groups: GroupPrompt[] = [];
  let model: RewardModel;
  let sees: boolean;

  /** All groups in one call, with a runner of its own. */
  function scored(options: Partial<ComputeOptions>, order = groups): number[][] {
    const runner = PassRunner.load({ folder, dtype: "float32", device: "cpu", ...options });
    try {
      return runner.score(order);
    } finally {
      runner.dispose();
    }
  }

  beforeAll(async () => {
    model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
    const processor = await model.family.loadProcessor({ limits: {} });
    sees = model.backbone.vision !== undefined;
    const random = randomFrom(seed);
    const baseFolder = path.join(fixtures, "parity");
    for (let i = 0; i < 24; i++) {
      const { prefix, branches } = randomGroup(random, sees);
      groups.push(await processor.prepare(prefix, branches, { baseFolder }));
      // Some prompts come again later with other answers, as records on different lines do.
      if (i % 5 === 4) {
        const { branches: others } = randomGroup(random, sees);
        groups.push(await processor.prepare(prefix, others, { baseFolder }));
      }
    }
  });
  afterAll(() => model.dispose());

  test("the groups reach every part: long prefixes, several pictures, equal answers, shared prompts", () => {
    expect(groups.some(({ prefix }) => prefix.ids.length > 1100)).toBe(true);
    expect(groups.some(({ visuals }) => visuals.length > 1)).toBe(sees);
    expect(groups.some(({ branches }) => new Set(branches.map(({ ids }) => ids.join())).size < branches.length)).toBe(
      true,
    );
    expect(new Set(groups.map(({ prefix }) => prefix.ids.join())).size).toBeLessThan(groups.length);
    expect(groups.some(({ prefix, branches }) => prefix.ids.length + (branches[0]?.ids.length ?? 0) < 64)).toBe(true);
  });

  test("scores are those of the plain forward to 1e-5", () => {
    const scores = scored({});
    for (const [index, group] of groups.entries()) {
      for (const [branch, span] of group.branches.entries()) {
        const plain = plainScore(model, group, span);
        expect(Math.abs((scores[index]?.[branch] ?? Number.NaN) - plain), `${index}/${branch}`).toBeLessThan(1e-5);
      }
    }
  });

  describe("scores have the same bits", () => {
    let reference: number[][];
    beforeAll(() => {
      reference = scored({});
    });

    test("alone: each answer in a call and a group of its own, nothing cached", () => {
      const runner = PassRunner.load({
        folder,
        dtype: "float32",
        device: "cpu",
        featureCacheBytes: 0,
        prefixCacheBytes: 0,
      });
      const alone = groups.map((group) =>
        group.branches.map((branch) => runner.score([{ ...group, branches: [branch] }])[0]?.[0]),
      );
      runner.dispose();
      expect(alone).toEqual(reference);
    });

    test("in another order", () => {
      const random = randomFrom(3);
      const order = groups.map((_, index) => index).sort(() => random(3) - 1);
      const scores = scored(
        {},
        order.map((index) => groups[index] as GroupPrompt),
      );
      expect(scores).toEqual(order.map((index) => reference[index]));
    });

    test.each([1, 100, 700, 1500, 100_000])("with a budget of %i tokens", (tokenBudget) => {
      expect(scored({ tokenBudget })).toEqual(reference);
    });

    test("from warm caches, small ones too", () => {
      for (const bytes of [2 ** 30, 2 ** 18]) {
        const options = { featureCacheBytes: bytes, prefixCacheBytes: bytes };
        const runner = PassRunner.load({ folder, dtype: "float32", device: "cpu", ...options });
        runner.score(groups);
        const { prefixes, features } = runner.stats;
        expect(runner.score(groups)).toEqual(reference);
        expect(runner.stats.prefixes.hits).toBeGreaterThan(prefixes.hits);
        if (sees && bytes < 2 ** 30) expect(runner.stats.features.hits).toBeGreaterThan(features.hits);
        expect(runner.stats.prefixes.bytes).toBeLessThanOrEqual(bytes);
        runner.dispose();
      }
    });

    test("from features on disk", () => {
      const featureFolder = mkdtempSync(path.join(tmpdir(), "features-"));
      try {
        expect(scored({ featureFolder })).toEqual(reference);
        const runner = PassRunner.load({ folder, dtype: "float32", device: "cpu", featureFolder });
        expect(runner.score(groups)).toEqual(reference);
        if (sees) expect(runner.stats.stored).toMatchObject({ misses: 0, damaged: 0, failures: 0 });
        else expect(runner.stats.stored).toBeUndefined(); // nothing is looked for there
        runner.dispose();
      } finally {
        rmSync(featureFolder, { recursive: true });
      }
    });

    test.each(counts)("on %i threads", (threads) => {
      const before = threadCount();
      const runner = PassRunner.load({ folder, dtype: "float32", device: "cpu" });
      setThreadCount(threads); // after loading, which takes one thread for small layers
      try {
        expect(runner.score(groups)).toEqual(reference);
        // The prompts are cached now: passes of a few tokens, as they end in different places on many threads.
        const alone = groups.map((group) =>
          group.branches.map((branch) => runner.score([{ ...group, branches: [branch] }])[0]?.[0]),
        );
        expect(alone).toEqual(reference);
      } finally {
        setThreadCount(before);
        runner.dispose();
      }
    });
  });

  test("a prompt's pictures and tokens are computed once for all its answers", () => {
    const runner = PassRunner.load({ folder, dtype: "float32", device: "cpu" });
    runner.score(groups);
    const prompts = new Set(
      groups.map(({ prefix, visuals }) => prefix.ids.join() + visuals.map(({ key }) => key).join()),
    );
    expect(runner.stats.prefixes.entries).toBe(prompts.size);
    const keys = new Set(groups.flatMap(({ visuals }) => visuals.map(({ key }) => key)));
    expect(runner.stats.features.entries).toBe(keys.size);
    runner.dispose();
  });

  test("a prompt that fails half-way is not taken for computed", () => {
    const long = groups.find(({ prefix }) => prefix.ids.length > 1100) as GroupPrompt;
    const ids = long.prefix.ids.slice();
    ids[1050] = 1_000_000; // no such token: the second of two chunks fails
    const runner = PassRunner.load({ folder, dtype: "float32", device: "cpu", tokenBudget: 1024 });
    const broken = { ...long, prefix: { ...long.prefix, ids } };
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(() => runner.score([broken])).toThrow(/embedding/);
      expect(runner.stats.prefixes.entries).toBe(0);
    }
    runner.dispose();
  });

  test("everything is freed", () => {
    const { handles } = liveTensors();
    scored({ tokenBudget: 300 });
    expect(liveTensors().handles).toBe(handles);
  });

  test("a short answer to a known prompt, which is padded, leaves nothing behind", () => {
    const single = groups.flatMap((group) => group.branches.map((branch) => ({ ...group, branches: [branch] })));
    // To 16 rows, or to a multiple of 4: Qwen3's template writes 16 tokens around the shortest.
    const isPadded = (tokens: number): boolean => tokens < 16 || (tokens < 24 && tokens % 4 !== 0);
    const short = single.filter(({ branches }) => branches.every(({ ids }) => isPadded(ids.length))).slice(0, 1);
    expect(short).toHaveLength(1);
    const runner = PassRunner.load({ folder, dtype: "float32", device: "cpu" });
    runner.score(short);
    const { handles } = liveTensors();
    runner.score(short);
    expect(liveTensors().handles).toBe(handles);
    runner.dispose();
  });
});
