import { describe, expect, test } from "vitest";
import { randomStream, shuffle, xoshiro128 } from "./random.ts";

test("xoshiro128** draws what its authors' program draws from the state 1, 2, 3, 4", () => {
  const random = xoshiro128([1, 2, 3, 4]);
  const published = [
    11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
  ];
  expect(published.map(() => random())).toEqual(published);
});

test("streams of different purposes differ, those of one are equal", () => {
  const first = (...purpose: (string | number)[]) => randomStream(...purpose)();
  expect(first("records", 0, 1)).toBe(first("records", 0, 1));
  const purposes = [
    ["records", 0, 1],
    ["records", 1, 0],
    ["epoch", 0, 1],
    ["records", 0, 1, 0],
    ["records", 0, "1"],
  ];
  expect(new Set(purposes.map((purpose) => first(...purpose))).size).toBe(purposes.length);
});

const shuffled = (length: number, seed: number) => {
  const values = new Uint32Array(length).map((_, index) => index);
  shuffle(values, randomStream("test", seed));
  return values;
};

/** The chi-square statistic of counts that should be equal. */
function chiSquare(counts: readonly number[]): number {
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - mean) ** 2 / mean, 0);
}

describe("a shuffle", () => {
  test.each([0, 1, 2, 7, 1000])("of %i is a permutation", (length) => {
    expect([...shuffled(length, 1)].sort((a, b) => a - b)).toEqual(Array.from({ length }, (_, index) => index));
  });

  test("gives all 24 orders of four things equally often", () => {
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 12_000; seed++) {
      const order = shuffled(4, seed).join();
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    expect(chiSquare([...counts.values()])).toBeLessThan(49.7); // one in a thousand exceeds it, at 23 degrees of freedom
  });

  test("puts a thing anywhere among sixty equally often", () => {
    const places = Array.from({ length: 60 }, () => 0);
    for (let seed = 0; seed < 6000; seed++) {
      const place = shuffled(60, seed).indexOf(17);
      places[place] = (places[place] ?? 0) + 1;
    }
    expect(chiSquare(places)).toBeLessThan(98.3); // one in a thousand, at 59 degrees of freedom
  });
});
