import { describe, expect, test } from "vitest";
import { randomStream } from "../../data/random.ts";
import { type Load, shareOf } from "./share.ts";

/** A batch of records of up to a thousand tokens over some prompts. */
function randomBatch(seed: number, size: number, prompts: number): Load[] {
  const random = randomStream("share", seed);
  return Array.from({ length: size }, () => ({ prompt: random() % prompts, tokens: 1 + (random() % 1000) }));
}

const shares = (batch: readonly Load[], world: number) =>
  Array.from({ length: world }, (_, rank) => shareOf(batch, rank, world));
const tokensOf = (batch: readonly Load[], entries: readonly number[]) =>
  entries.reduce((sum, entry) => sum + (batch[entry]?.tokens ?? 0), 0);

describe("the shares of a batch", () => {
  test.each([1, 2, 3, 8])("are the batch without overlap, each in its order: %i processes", (world) => {
    for (let seed = 0; seed < 50; seed++) {
      const batch = randomBatch(seed, seed % 40, 1 + (seed % 20));
      const all = shares(batch, world);
      expect(all.flat().sort((a, b) => a - b)).toEqual(batch.map((_, index) => index));
      for (const share of all) expect(share).toEqual([...share].sort((a, b) => a - b));
    }
  });

  test("differ by no more than what one bundle weighs: a prompt's entries, or an entry of a prompt taken apart", () => {
    for (let seed = 0; seed < 50; seed++) {
      const world = 2 + (seed % 4);
      const batch = randomBatch(seed, 64, 1 + seed);
      const even = tokensOf(batch, [...batch.keys()]) / world;
      const loads = shares(batch, world).map((share) => tokensOf(batch, share));
      expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(Math.max(even, 1000));
    }
  });

  test("have a prompt on one process, unless it is more than an even share", () => {
    for (let seed = 0; seed < 50; seed++) {
      const batch = randomBatch(seed, 40, 12);
      const all = shares(batch, 3);
      const even = tokensOf(batch, [...batch.keys()]) / 3;
      for (let prompt = 0; prompt < 12; prompt++) {
        const entries = [...batch.keys()].filter((entry) => batch[entry]?.prompt === prompt);
        const ranks = all.filter((share) => entries.some((entry) => share.includes(entry))).length;
        if (tokensOf(batch, entries) <= even) expect(ranks).toBeLessThanOrEqual(1);
      }
    }
  });

  test("give every process work where one prompt is all there is", () => {
    const batch = [1, 2, 3, 4].map((tokens) => ({ prompt: 9, tokens }));
    expect(shares(batch, 2).map((share) => tokensOf(batch, share))).toEqual([5, 5]);
  });

  test("are empty where there is not enough", () => {
    expect(shares([{ prompt: 1, tokens: 5 }], 3)).toEqual([[0], [], []]);
    expect(shares([], 2)).toEqual([[], []]);
  });
});
