import { expect, test } from "vitest";
import { calibrationError, calibrationOf, pairedDifference, shareOf } from "./statistics.ts";

const times = (count: number, value: boolean): boolean[] => new Array<boolean>(count).fill(value);

test("a share has Wilson's interval, as Newcombe (1998, table I) gives it for 81 of 263", () => {
  const share = shareOf([...times(81, true), ...times(182, false)]);
  expect(share).toMatchObject({ correct: 81, count: 263 });
  expect(share.interval[0]).toBeCloseTo(0.2553, 4);
  expect(share.interval[1]).toBeCloseTo(0.3662, 4);
});

test("a difference between the same questions follows from those that changed alone", () => {
  // 100 questions, 8 lost and 2 won: mean -0.06, variance (10 - 100 * 0.06^2) / 99.
  const before = [...times(50, true), ...times(50, false)];
  const now = [...times(42, true), ...times(8, false), ...times(2, true), ...times(48, false)];
  const { mean, interval } = pairedDifference(now, before);
  const half = 1.959964 * Math.sqrt((10 - 100 * 0.06 ** 2) / 99 / 100);
  expect(mean).toBeCloseTo(-0.06, 12);
  expect(interval[0]).toBeCloseTo(-0.06 - half, 6);
  expect(interval[1]).toBeCloseTo(-0.06 + half, 6);
});

test("calibration counts by the size of the margin, and its error is that of the bins", () => {
  const bins = calibrationOf([0.2, -0.2, 1, 1, 1, -1, 5], [0, 0.5, 2]);
  expect(bins.map(({ from, to, correct, count }) => [from, to, correct, count])).toEqual([
    [0, 0.5, 1, 2],
    [0.5, 2, 3, 4],
    [2, undefined, 1, 1],
  ]);
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
  expect(bins[1]?.expected).toBeCloseTo(sigmoid(1), 12);
  const error = (2 * (sigmoid(0.2) - 0.5) + 4 * Math.abs(0.75 - sigmoid(1)) + (1 - sigmoid(5))) / 7;
  expect(calibrationError(bins)).toBeCloseTo(error, 12);
});
