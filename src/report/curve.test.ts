import { describe, expect, it } from "vitest";
import { logTicks, smooth, thin, ticks } from "./curve.ts";

const points = (...ys: number[]) => ys.map((y, i) => ({ x: i + 1, y }));

describe("smooth", () => {
  it("leaves a constant alone from the first point on", () => {
    const smoothed = smooth(points(3, 3, 3, 3), [{ from: 1, to: 4 }], 10);
    for (const { y } of smoothed) expect(y).toBeCloseTo(3, 12);
  });

  it("is the exponential mean: with window 3 each older point weighs half", () => {
    const smoothed = smooth(points(8, 0, 4), [{ from: 1, to: 3 }], 3);
    const expected = [8, (8 * 0.5) / 1.5, (8 * 0.25 + 4) / 1.75];
    smoothed.forEach(({ y }, i) => {
      expect(y).toBeCloseTo(expected[i] ?? Number.NaN, 12);
    });
  });

  it("knows nothing of the stage before", () => {
    const stages = [
      { from: 1, to: 2 },
      { from: 3, to: 4 },
    ];
    expect(smooth(points(100, 100, 1, 1), stages, 50).slice(2)).toEqual(points(100, 100, 1, 1).slice(2));
  });
});

describe("thin", () => {
  const many = Array.from({ length: 100_000 }, (_, i) => ({ x: i + 1, y: Math.sin(i / 1000) }));
  const span = { from: 1, to: 100_000 };

  it("keeps the ends and every spike, in the order of steps", () => {
    const spikes = [7, 31_415, 31_416, 99_998];
    const spiky = many.map((point, i) =>
      spikes.includes(i) ? { ...point, y: i % 2 === 0 ? 50 + i : -50 - i } : point,
    );
    const thinned = thin(spiky, span, 330);
    expect(thinned.length).toBeLessThanOrEqual(4 * 330);
    for (const i of [0, ...spikes, 99_999]) expect(thinned).toContainEqual(spiky[i]);
    expect(thinned.map(({ x }) => x)).toEqual(thinned.map(({ x }) => x).toSorted((a, b) => a - b));
    expect(new Set(thinned.map(({ x }) => x)).size).toBe(thinned.length);
  });

  it("leaves few points as they are", () => {
    expect(thin(many.slice(0, 1320), span, 330)).toEqual(many.slice(0, 1320));
  });
});

describe("ticks", () => {
  it.each([
    [0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [-0.3, 0.31, 5, [-0.2, 0, 0.2]],
    [0.59, 0.594, 5, [0.59, 0.591, 0.592, 0.593, 0.594]],
    [1, 1200, 8, [200, 400, 600, 800, 1000, 1200]],
    [3, 3, 8, [3]],
  ])("between %d and %d are round", (low, high, most, expected) => {
    expect(ticks(low, high, most)).toEqual(expected);
  });

  it("are powers of ten on a logarithmic scale, or more where these are few", () => {
    expect(logTicks(0.005, 2000)).toEqual([0.01, 0.1, 1, 10, 100, 1000]);
    expect(logTicks(1.5, 40)).toEqual([2, 5, 10, 20]);
  });
});
