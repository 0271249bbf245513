/**
 * @file What readers answer does not depend on how a pass came by its hidden states: in what company, within what budget, from
 * which cache, on how many threads, and whatever others ask of the same pass. test/parity/readers.test.ts says what is right.
 */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { plainHidden, wholeConversation } from "../../../test/conversation.ts";
import { randomFrom, randomGroup } from "../../../test/random-groups.ts";
import type { GroupPrompt } from "../../models/prompt.ts";
import { RewardModel } from "../../models/reward-model.ts";
import { placement } from "../../nn/index.ts";
import { liveTensors, noGrad, scope, setThreadCount, threadCount } from "../../torch/index.ts";
import { type ComputeOptions, PassRunner } from "../pass/pass.ts";
import type { Answers } from "./questions.ts";
import type { ReadRequest } from "./reader.ts";

const root = path.join(import.meta.dirname, "../../..");
const fixtures = path.join(root, "test/fixtures/parity");
const folders = {
  plain: path.join(fixtures, "plain"),
  grouped: path.join(fixtures, "grouped"),
  tiny: path.join(root, "models/tiny"),
};

const pooled = (over: "prompt" | "answer" | "conversation", how: "mean" | "last"): ReadRequest => ({
  kind: "pooled",
  over,
  how,
  normalise: false,
});
const everything: readonly ReadRequest[] = [
  { kind: "reward" },
  { kind: "rewards" },
  pooled("prompt", "mean"),
  pooled("prompt", "last"),
  pooled("answer", "mean"),
  pooled("answer", "last"),
  pooled("conversation", "mean"),
  pooled("conversation", "last"),
  { kind: "logProbs" },
  { kind: "nextToken", positions: [-1, 0] },
];
const kinds = everything.map((request, index) => [JSON.stringify(request), index] as const);

describe.each(["plain", "grouped", "tiny"] as const)("checkpoint %s", (shape) => {
  const folder = folders[shape];
  const groups: GroupPrompt[] = [];
  /** Of all groups in one call, everything asked at once. */
  let reference: Answers[];

  const load = (options: Partial<ComputeOptions> = {}): PassRunner =>
    PassRunner.load({ folder, dtype: "float32", device: "cpu", ...options });

  function using<T>(options: Partial<ComputeOptions>, body: (runner: PassRunner) => T): T {
    const runner = load(options);
    try {
      return body(runner);
    } finally {
      runner.dispose();
    }
  }

  const asked = (read: readonly ReadRequest[], of = groups) => of.map((prompt) => ({ prompt, read }));

  beforeAll(async () => {
    const model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
    const processor = await model.family.loadProcessor({ limits: {} });
    model.dispose();
    const random = randomFrom(shape.length);
    for (let i = 0; i < 10; i++) {
      const { prefix, branches } = randomGroup(random);
      groups.push(await processor.prepare(prefix, branches, { baseFolder: fixtures }));
      if (i % 5 !== 4) continue;
      const { branches: others } = randomGroup(random);
      groups.push(await processor.prepare(prefix, others, { baseFolder: fixtures }));
    }
    reference = using({}, (runner) => runner.answer(asked(everything)));
  });

  test("there are prompts longer than a block, and answers to one prompt in several groups", () => {
    expect(groups.some(({ prefix }) => prefix.ids.length > 1100)).toBe(true);
    expect(new Set(groups.map(({ prefix }) => prefix.ids.join())).size).toBeLessThan(groups.length);
  });

  test("the last of the rewards is the reward, the last of the conversation that of the answer", () => {
    const rewards = using({}, (runner) => runner.score(groups));
    for (const [index, answers] of reference.entries()) {
      for (const [branch, [reward, each, , , , ofAnswer, , ofAll]] of answers.entries()) {
        expect(each).toHaveLength(groups[index]?.branches[branch]?.ids.length ?? -1);
        expect(each instanceof Float32Array && each.at(-1)).toBe(reward);
        expect(reward).toBe(rewards[index]?.[branch]);
        expect(ofAnswer).toEqual(ofAll);
      }
    }
  });

  test.each(kinds)("%s alone has the bits that it has beside all others", (_, index) => {
    const request = everything[index] as ReadRequest;
    const alone = using({}, (runner) => runner.answer(asked([request])));
    expect(alone).toEqual(reference.map((answers) => answers.map((own) => [own[index]])));
  });

  test("groups of one pass that ask for different things have the bits that each has alone", () => {
    const own = (group: number) => everything.filter((_, index) => (index + group) % 3 === 0);
    const expected = reference.map((answers, group) =>
      answers.map((all) => all.filter((_, index) => (index + group) % 3 === 0)),
    );
    for (const tokenBudget of [1, 700, 100_000]) {
      using({ tokenBudget }, (runner) => {
        const mixed = groups.map((prompt, group) => ({ prompt, read: own(group) }));
        expect(runner.answer(mixed)).toEqual(expected);
        expect(runner.answer(mixed)).toEqual(expected); // prompts from the cache where only answers are read
      });
    }
  });

  test.each([1, 100, 700, 1500, 100_000])("a budget of %i tokens", (tokenBudget) => {
    expect(using({ tokenBudget }, (runner) => runner.answer(asked(everything)))).toEqual(reference);
  });

  test("each answer in a call and a group of its own, with nothing cached and with all prompts cached", () => {
    for (const bytes of [0, 2 ** 30]) {
      using({ featureCacheBytes: bytes, prefixCacheBytes: bytes, tokenBudget: 900 }, (runner) => {
        const once = () =>
          groups.map((group) =>
            group.branches.map(
              (branch) => runner.answer(asked(everything, [{ ...group, branches: [branch] }]))[0]?.[0],
            ),
          );
        expect(once()).toEqual(reference);
        expect(once()).toEqual(reference);
      });
    }
  });

  test("prompts from the cache, where only answers are read", () => {
    const read = everything.filter((_, index) => [0, 1, 4, 8, 9].includes(index));
    const expected = reference.map((answers) => answers.map((own) => [0, 1, 4, 8, 9].map((index) => own[index])));
    using({}, (runner) => {
      runner.score(groups);
      const { hits } = runner.stats.prefixes;
      expect(runner.answer(asked(read))).toEqual(expected);
      expect(runner.stats.prefixes.hits).toBeGreaterThan(hits);
    });
  });

  test.each([1, 2])("%i threads", (threads) => {
    const before = threadCount();
    using({ tokenBudget: 1500 }, (runner) => {
      setThreadCount(threads); // after loading, which takes one thread for small layers
      try {
        expect(runner.answer(asked(everything))).toEqual(reference);
      } finally {
        setThreadCount(before);
      }
    });
  });

  test("interleaved with another pass, step by step", () => {
    using({ tokenBudget: 300 }, (runner) => {
      const passes = [runner.run(asked(everything)), runner.run(asked(everything.toReversed()))] as const;
      const results = passes.map((): Answers[] | undefined => undefined);
      while (results.includes(undefined)) {
        for (const [index, pass] of passes.entries()) {
          if (results[index]) continue;
          const next = pass.next();
          if (next.done) results[index] = next.value;
        }
      }
      expect(results[0]).toEqual(reference);
      expect(results[1]).toEqual(reference.map((answers) => answers.map((own) => own.toReversed())));
    });
  });

  test("what is asked twice is answered twice", () => {
    const twice: readonly ReadRequest[] = [{ kind: "reward" }, { kind: "rewards" }, { kind: "reward" }];
    const found = using({}, (runner) => runner.answer(asked(twice)));
    expect(found).toEqual(reference.map((answers) => answers.map(([reward, rewards]) => [reward, rewards, reward])));
  });

  test("a position that a branch does not have is refused, in words", () => {
    using({}, (runner) => {
      const tokens = groups[0]?.branches[0]?.ids.length ?? 0;
      for (const position of [tokens, -tokens - 1, 0.5]) {
        expect(() =>
          runner.answer(asked([{ kind: "nextToken", positions: [0, position] }], groups.slice(0, 1))),
        ).toThrow(
          expect.objectContaining({ code: "invalid_record", message: expect.stringContaining(String(position)) }),
        );
      }
    });
  });

  test("everything is freed: after a pass, and after one that is left half-way", () => {
    const { handles } = liveTensors();
    using({ tokenBudget: 300 }, (runner) => runner.answer(asked(everything)));
    expect(liveTensors().handles).toBe(handles);
    using({ tokenBudget: 300 }, (runner) => {
      const pass = runner.run(asked(everything));
      for (let step = 0; step < 6; step++) expect(pass.next().done).toBe(false);
      pass.return([]);
    });
    expect(liveTensors().handles).toBe(handles);
  });

  describe("the plain forward, every conversation by itself, agrees to 1e-4", () => {
    let model: RewardModel;
    beforeAll(() => {
      model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
    });
    afterAll(() => model.dispose());

    test("rewards at every token and pooled states", () => {
      for (const [index, group] of groups.entries()) {
        for (const [branch, span] of group.branches.entries()) {
          const [states, rewards, width] = noGrad(() =>
            scope(() => {
              const hidden = plainHidden(model, wholeConversation(group, span));
              return [hidden.toFloat32Array(), model.head.forward(hidden).toFloat32Array(), hidden.size(1)] as const;
            }),
          );
          const start = group.prefix.ids.length;
          const mean = (from: number, until: number) =>
            Float64Array.from({ length: width }, (_, column) => {
              let sum = 0;
              for (let row = from; row < until; row++) sum += states[row * width + column] ?? Number.NaN;
              return sum / (until - from);
            });
          const own = reference[index]?.[branch] ?? [];
          const end = start + span.ids.length;
          const expected = [
            undefined,
            rewards.subarray(start),
            mean(0, start),
            mean(start - 1, start),
            mean(start, end),
            mean(end - 1, end),
            mean(0, end),
            mean(end - 1, end),
          ];
          for (const [at, values] of expected.entries()) if (values) expectNear(own[at], values);
        }
      }
    });
  });
});

function expectNear(found: unknown, expected: ArrayLike<number>): void {
  if (!(found instanceof Float32Array)) throw new Error("expected numbers");
  expect(found).toHaveLength(expected.length);
  let largest = 0;
  let worst = 0;
  for (const [index, value] of Array.from(expected).entries()) {
    largest = Math.max(largest, Math.abs(value));
    const difference = Math.abs((found[index] ?? Number.NaN) - value);
    if (!(difference <= worst)) worst = difference; // a NaN stays
  }
  expect(worst / largest).toBeLessThan(1e-4);
}
