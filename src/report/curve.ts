/**
 * @file Points of a curve, made fit to be drawn: smoothed, thinned without losing a spike, and scaled to round numbers.
 */

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** A stretch of steps, borders included. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/**
 * An exponential moving mean that forgets as one over the last `window` points does, without a pull towards zero at its
 * start. It begins anew with each stage, for a new one may have other data.
 *
 * @param points their y finite
 */
export function smooth(points: readonly Point[], stages: readonly Span[], window: number): Point[] {
  const keep = 1 - 2 / (window + 1);
  return stages.flatMap(({ from, to }) => {
    let sum = 0;
    let weight = 0;
    return points
      .filter(({ x }) => x >= from && x <= to)
      .map(({ x, y }) => {
        sum = keep * sum + y;
        weight = keep * weight + 1;
        return { x, y: sum / weight };
      });
  });
}

/**
 * Leaves at most four points in each of `buckets` equal parts of the span: first, lowest, highest and last, in their
 * order. Drawn as wide as there are buckets, the line looks as it would with all points.
 *
 * @param points by ascending x
 */
export function thin(points: readonly Point[], { from, to }: Span, buckets: number): Point[] {
  if (points.length <= 4 * buckets) return [...points];
  const bucketOf = ({ x }: Point) => Math.min(buckets - 1, Math.floor(((x - from) / (to - from)) * buckets));
  const kept: Point[] = [];
  for (let start = 0; start < points.length; ) {
    let end = start;
    let low = start;
    let high = start;
    const at = (i: number) => points[i] ?? { x: Number.NaN, y: Number.NaN };
    for (const bucket = bucketOf(at(start)); end < points.length && bucketOf(at(end)) === bucket; end++) {
      if (at(end).y < at(low).y) low = end;
      if (at(end).y > at(high).y) high = end;
    }
    for (const i of [...new Set([start, low, high, end - 1])].sort((a, b) => a - b)) kept.push(at(i));
    start = end;
  }
  return kept;
}

/** Round numbers, 1, 2 or 5 times a power of ten apart, that lie between `low` and `high`: at most `most` + 1. */
export function ticks(low: number, high: number, most: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const distance = ([1, 2, 5, 10].find((times) => times * power >= rough * (1 - 1e-9)) ?? 10) * power;
  const first = Math.ceil(low / distance - 1e-9);
  const count = Math.floor(high / distance + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * distance).toPrecision(12)));
}

/** Powers of ten between `low` and `high`, both above 0; with twice and five times them where there would be few. */
export function logTicks(low: number, high: number): number[] {
  const first = Math.floor(Math.log10(low));
  const powers = Array.from({ length: Math.ceil(Math.log10(high)) - first + 1 }, (_, i) => first + i);
  const between = Math.log10(high / low) > 2.5 ? [1] : [1, 2, 5];
  const every = Math.ceil(powers.length / 8);
  return powers
    .filter((_, i) => i % every === 0)
    .flatMap((power) => between.map((times) => Number((times * 10 ** power).toPrecision(12))))
    .filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
}
