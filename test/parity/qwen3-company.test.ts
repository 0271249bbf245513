/**
 * @file Qwen3's scores in any company: the law that the first family is held to (the tests of src/engine/pass), on groups of
 * text. In float32 on the CPU an answer has the same bits alone and beside others, in any order, budget and number of threads,
 * from full caches and empty ones.
 */
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Message } from "../../src/conversation.ts";
import { type ComputeOptions, PassRunner } from "../../src/engine/pass/pass.ts";
import { unrecorded } from "../../src/models/backbone.ts";
import { familyOf } from "../../src/models/families.ts";
import type { GroupPrompt, Span } from "../../src/models/prompt.ts";
import { RewardModel } from "../../src/models/reward-model.ts";
import { PackedAttention } from "../../src/nn/attention/packed-attention.ts";
import { placement } from "../../src/nn/index.ts";
import { liveTensors, narrow, noGrad, scope, setThreadCount, threadCount } from "../../src/torch/index.ts";
import { wholeConversation } from "../conversation.ts";

const fixtures = path.join(import.meta.dirname, "../fixtures/qwen3");

/** A small generator of random numbers (xorshift32), so that every run tests the same groups. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const words = ["License", "a", "the", "work", "copy\n", "of", "derivative", "12", "yes", "not", "shall", "¿", "."];

/** A prompt of a few words or of many, in up to three turns, and up to five answers, some of them equal. */
function randomGroup(random: (below: number) => number): { prefix: Message[]; branches: Message[] } {
  const text = (length: number): string => Array.from({ length }, () => words[random(words.length)]).join(" ");
  const prefix: Message[] = [{ role: "user", content: text(random(6) === 0 ? 700 : 1 + random(40)) }];
  if (random(3) === 0) prefix.unshift({ role: "system", content: text(5) });
  if (random(3) === 0) prefix.push({ role: "assistant", content: text(4) }, { role: "user", content: text(9) });
  const answers = Array.from({ length: 1 + random(4) }, () => text(1 + random(random(4) === 0 ? 80 : 12)));
  if (random(2) === 0 && answers[0]) answers.push(answers[0]);
  return { prefix, branches: answers.map((content) => ({ role: "assistant", content })) };
}

/** The reference's way: every conversation by itself, all its tokens through every layer. */
function plainScore({ backbone, head }: RewardModel, group: GroupPrompt, branch: Span): number {
  const { sequence } = wholeConversation(group, branch);
  const tokens = sequence.ids.length;
  const groups = [{ prefix: { start: 0, length: tokens }, branches: [] }];
  const [score = Number.NaN] = noGrad(() =>
    scope(() => {
      const attention = new PackedAttention(groups, { dtype: "float32", device: "cpu" });
      const hidden = backbone.forwardAll(sequence, undefined, attention, unrecorded);
      return head.forward(narrow(hidden, 0, tokens - 1, 1)).toFloat32Array();
    }),
  );
  return score;
}

describe.each(["plain", "odd"])("checkpoint %s", (shape) => {
  const folder = path.join(fixtures, shape);
  const groups: GroupPrompt[] = [];
  let reference: number[][];

  const load = (options: Partial<ComputeOptions> = {}): PassRunner =>
    PassRunner.load({ folder, dtype: "float32", device: "cpu", ...options });

  /** All groups in one call, with a runner of its own. */
  function scored(options: Partial<ComputeOptions>, order: readonly GroupPrompt[] = groups): number[][] {
    const runner = load(options);
    try {
      return runner.score(order);
    } finally {
      runner.dispose();
    }
  }

  const eachAlone = (runner: PassRunner): number[][] =>
    groups.map((group) =>
      group.branches.map((branch) => runner.score([{ ...group, branches: [branch] }])[0]?.[0] ?? Number.NaN),
    );

  beforeAll(async () => {
    const processor = await familyOf(folder).loadProcessor({ limits: {} });
    const random = randomFrom(shape.length);
    for (let i = 0; i < 24; i++) {
      const { prefix, branches } = randomGroup(random);
      groups.push(await processor.prepare(prefix, branches, { baseFolder: fixtures }));
      // Some prompts come again later with other answers, as records on different lines do.
      const others = i % 5 === 4 ? randomGroup(random).branches : [];
      if (others.length > 0) groups.push(await processor.prepare(prefix, others, { baseFolder: fixtures }));
    }
    reference = scored({});
  });

  test("the groups reach every part: long and short prompts, shared ones, equal answers", () => {
    const prompts = groups.map(({ prefix }) => prefix.ids.join());
    expect(groups.some(({ prefix }) => prefix.ids.length > 1100)).toBe(true);
    expect(groups.some(({ prefix, branches }) => prefix.ids.length + (branches[0]?.ids.length ?? 0) < 64)).toBe(true);
    expect(new Set(prompts).size).toBeLessThan(groups.length);
    const answers = groups.map(({ branches }) => branches.map(({ ids }) => ids.join()));
    expect(answers.some((all) => new Set(all).size < all.length)).toBe(true);
  });

  test("scores are those of the plain forward to 1e-5", () => {
    const model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
    for (const [index, group] of groups.entries()) {
      for (const [branch, span] of group.branches.entries()) {
        const score = reference[index]?.[branch] ?? Number.NaN;
        expect(Math.abs(score - plainScore(model, group, span)), `${index}/${branch}`).toBeLessThan(1e-5);
      }
    }
    model.dispose();
  });

  describe("scores have the same bits", () => {
    test("alone: each answer in a call and a group of its own, nothing cached", () => {
      const runner = load({ featureCacheBytes: 0, prefixCacheBytes: 0 });
      expect(eachAlone(runner)).toEqual(reference);
      runner.dispose();
    });

    test("in another order", () => {
      const random = randomFrom(3);
      const order = groups.map((prompt, index) => ({ prompt, index, key: random(1000) }));
      order.sort((a, b) => a.key - b.key);
      const scores = scored(
        {},
        order.map(({ prompt }) => prompt),
      );
      expect(scores).toEqual(order.map(({ index }) => reference[index]));
    });

    test.each([1, 100, 700, 1500, 100_000])("with a budget of %i tokens", (tokenBudget) => {
      expect(scored({ tokenBudget })).toEqual(reference);
    });

    test.each([2 ** 30, 2 ** 18])("from a warm cache of %i bytes", (prefixCacheBytes) => {
      const runner = load({ prefixCacheBytes });
      runner.score(groups);
      const before = runner.stats.prefixes.hits;
      expect(runner.score(groups)).toEqual(reference);
      expect(runner.stats.prefixes.hits).toBeGreaterThan(before);
      expect(runner.stats.prefixes.bytes).toBeLessThanOrEqual(prefixCacheBytes);
      runner.dispose();
    });

    // More would change them where a layer has 40 or 88 columns, as "odd" has: thread-count.ts keeps such models to two.
    test.each(shape === "plain" ? [1, 2, 3, 8] : [1, 2])("on %i threads", (threads) => {
      const before = threadCount();
      const runner = load();
      setThreadCount(threads); // after loading, which takes one thread for small layers
      try {
        expect(runner.score(groups)).toEqual(reference);
        // The prompts are cached now: passes of a few tokens, as they end in different places on many threads.
        expect(eachAlone(runner)).toEqual(reference);
      } finally {
        setThreadCount(before);
        runner.dispose();
      }
    });
  });

  test("no picture is looked for, and everything is freed", () => {
    const { handles } = liveTensors();
    const runner = load({ tokenBudget: 300 });
    runner.score(groups);
    expect(runner.stats.features).toMatchObject({ hits: 0, misses: 0, entries: 0, bytes: 0 });
    expect(runner.stats.stored).toBeUndefined();
    runner.dispose();
    expect(liveTensors().handles).toBe(handles);
  });
});
