import { describe, expect, it } from "vitest";
import { VlRewardError } from "../../errors.ts";
import type { Shape } from "../../models/backbone.ts";
import { activationBytes, memoryBudget, passTokens, planDeviceMemory, planMemory, tokenBudget } from "./memory.ts";

const gigabyte = 1e9;
const memory = { total: 24 * gigabyte, available: 10 * gigabyte };

/** The shapes of the published 7B. */
const sevenBillion: Shape = {
  decoder: {
    vocabulary: 152_064,
    hidden: 3584,
    intermediate: 18_944,
    layers: 28,
    heads: 28,
    keyValueHeads: 4,
    headWidth: 128,
    maxPositions: 128_000,
  },
  vision: { hidden: 1280, intermediate: 3420, patchNumbers: 1176, patchesPerToken: 4 },
};

describe("memoryBudget", () => {
  it.each([
    ["16GB", 16_000_000_000],
    ["16 gb", 16_000_000_000],
    ["512MiB", 536_870_912],
    ["1.5GiB", 1_610_612_736],
    ["8e9", 8_000_000_000],
    ["8000000000", 8_000_000_000],
    ["1TB", 1_000_000_000_000],
    ["2e6kB", 2_000_000_000],
  ])("reads %s as %d bytes", (given, bytes) => {
    expect(memoryBudget(given, memory)).toBe(bytes);
  });

  it.each(["", "GB", "sixteen", "-1GB", "16XB", "16 GB free", "1e400", "0x10", "16,5GB"])("refuses %j", (given) => {
    expect(() => memoryBudget(given, memory)).toThrow(VlRewardError);
    expect(() => memoryBudget(given, memory)).toThrow(/no amount of memory; expected one like 16GB/);
  });

  it("refuses an amount without its unit, which no run can do with", () => {
    expect(() => memoryBudget("16", memory)).toThrow(
      'A memory budget of "16" is 16 bytes; at least 256MiB are needed.',
    );
  });

  it("is four fifths of what is available by default", () => {
    expect(memoryBudget(undefined, memory)).toBe(8 * gigabyte);
  });
});

describe("tokenBudget", () => {
  it("has a floor and a ceiling, and grows between them", () => {
    expect(tokenBudget(sevenBillion, "float32", 0)).toBe(passTokens.fewest);
    expect(tokenBudget(sevenBillion, "float32", 1e15)).toBe(passTokens.most);
    const budgets = [0.6, 0.8, 1, 1.2].map((size) => tokenBudget(sevenBillion, "float32", size * gigabyte));
    expect(budgets).toEqual([...new Set(budgets)].sort((a, b) => a - b));
  });

  it("chooses the most tokens that fit", () => {
    const tokens = tokenBudget(sevenBillion, "float32", gigabyte);
    expect(activationBytes(sevenBillion, "float32", tokens)).toBeLessThanOrEqual(gigabyte);
    expect(activationBytes(sevenBillion, "float32", tokens + 256)).toBeGreaterThan(gigabyte);
  });
});

describe("planMemory", () => {
  const total = ({ tokens: _, ...parts }: ReturnType<typeof planMemory>): number =>
    Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);

  it.each(["float32", "bfloat16"] as const)("deals out no more than there is, in %s", (dtype) => {
    for (const budget of [20, 24, 40, 100]) {
      const plan = planMemory(budget * gigabyte, 15.5 * gigabyte, sevenBillion, dtype);
      expect(total(plan)).toBeLessThanOrEqual((budget - 15.5) * gigabyte);
      expect(total(plan)).toBeGreaterThan((budget - 15.5 - 0.6) * gigabyte); // the process and the converter's buffer
    }
  });

  it("caches nothing where the weights alone are too much, and goes on with the smallest passes", () => {
    const plan = planMemory(12 * gigabyte, 15.5 * gigabyte, sevenBillion, "float32");
    expect(plan).toMatchObject({ tokens: passTokens.fewest, featureCache: 0, prefixCache: 0 });
  });
});

describe("several scorers on the CPU", () => {
  it.each([2, 3])("%d share what is left beside the weights, which are there once", (sharers) => {
    const [budget, weights] = [60 * gigabyte, 15.5 * gigabyte];
    const { tokens: _, pictures, waiting, ...own } = planMemory(budget, weights, sevenBillion, "float32", sharers);
    const each = Object.values(own).reduce((sum, bytes) => sum + bytes, 0);
    const shared = budget - weights - pictures - waiting;
    expect(sharers * each).toBeLessThanOrEqual(shared);
    expect(sharers * each).toBeGreaterThan(shared - (sharers + 1) * 0.5 * gigabyte); // a converter's buffer each
  });
});

describe("planDeviceMemory", () => {
  const weights = 15.5 * gigabyte;
  const plan = (given: number | undefined, free: number): ReturnType<typeof planDeviceMemory> =>
    planDeviceMemory(given && given * gigabyte, free * gigabyte, weights, sevenBillion, "bfloat16");
  const held = ({ activations, featureCache, prefixCache }: ReturnType<typeof plan>): number =>
    (activations + featureCache + prefixCache) / gigabyte;

  it("takes four fifths of what is free beside the weights, less a workspace", () => {
    for (const free of [8, 24, 63, 120]) {
      expect(held(plan(undefined, free))).toBeLessThan(0.8 * free);
      expect(held(plan(undefined, free))).toBeGreaterThan(0.8 * free - 0.6);
    }
  });

  it("keeps within what is allowed, weights and context included, and never plans with more than is free", () => {
    expect(held(plan(40, 63))).toBeLessThan(40 - 15.5 - 0.6);
    expect(held(plan(40, 63))).toBeGreaterThan(40 - 15.5 - 0.6 - 0.7);
    expect(held(plan(200, 63))).toBeLessThan(63);
    expect(held(plan(200, 63))).toBeGreaterThan(62);
  });

  it("has passes of eight times a CPU's on a large device, and of what fits on a small one", () => {
    expect(plan(undefined, 63).tokens).toBe(passTokens.mostOnCuda);
    const small = plan(undefined, 6);
    expect(small.tokens).toBeLessThan(passTokens.mostOnCuda);
    expect(small.tokens).toBeGreaterThan(passTokens.fewest);
    expect(small.activations).toBeLessThanOrEqual((0.8 * 6 * gigabyte) / 2);
  });

  it("goes on with the smallest passes, and caches nothing, where there is no room", () => {
    const nothing = { tokens: passTokens.fewest, featureCache: 0, prefixCache: 0 };
    expect(plan(undefined, 0.2)).toMatchObject(nothing);
    expect(plan(10, 63)).toMatchObject(nothing);
  });
});
