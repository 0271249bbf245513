/** @file What figures of a benchmark are worth: shares with their intervals, differences between the same questions, calibration. */

/** A share that was counted. */
export interface Share {
  readonly correct: number;
  readonly count: number;
  readonly accuracy: number;
  /** Wilson's at 95%. */
  readonly interval: readonly [low: number, high: number];
}

export function shareOf(outcomes: readonly boolean[]): Share {
  const correct = outcomes.filter(Boolean).length;
  const count = outcomes.length;
  return { correct, count, accuracy: count === 0 ? 0 : correct / count, interval: wilsonInterval(correct, count) };
}

/** A mean with its interval at 95%. */
export interface Difference {
  readonly mean: number;
  readonly interval: readonly [low: number, high: number];
}

/**
 * How much more often `now` is right than `before`, question by question: what makes a question hard is in both, so that the
 * interval is narrower than that of two separate shares. The normal approximation; of one question it can be anything.
 */
export function pairedDifference(now: readonly boolean[], before: readonly boolean[]): Difference {
  const differences = now.map((right, index) => Number(right) - Number(before[index]));
  const count = differences.length;
  const mean = differences.reduce((sum, value) => sum + value, 0) / count;
  if (count < 2) return { mean, interval: [-1, 1] };
  const variance = differences.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1);
  const half = 1.959963984540054 * Math.sqrt(variance / count);
  return { mean, interval: [mean - half, mean + half] };
}

/** Pairs whose margins are about equally large. */
export interface Bin extends Share {
  /** Of the absolute margin; `to` is undefined for the last one. */
  readonly from: number;
  readonly to?: number | undefined;
  /** How often the higher answer should be right, were margins log odds: the mean of sigmoid(|margin|). */
  readonly expected: number;
}

/**
 * How often the answer with the higher score is the right one, by how much higher it is.
 *
 * @param margins score of the right answer minus score of the wrong one
 * @param edges rising, from 0; the last bin is open
 */
export function calibrationOf(margins: readonly number[], edges: readonly number[]): Bin[] {
  return edges.map((from, index) => {
    const to = edges[index + 1];
    const inside = margins.filter(
      (margin) => Math.abs(margin) >= from && Math.abs(margin) < (to ?? Number.POSITIVE_INFINITY),
    );
    const odds = inside.map((margin) => 1 / (1 + Math.exp(-Math.abs(margin))));
    return {
      from,
      to,
      ...shareOf(inside.map((margin) => margin > 0)),
      expected: inside.length === 0 ? 0 : odds.reduce((sum, value) => sum + value, 0) / inside.length,
    };
  });
}

/** The mean distance between how often bins are right and how often they should be, weighed by their pairs. */
export function calibrationError(bins: readonly Bin[]): number {
  const all = bins.reduce((sum, { count }) => sum + count, 0);
  return bins.reduce((sum, { count, accuracy, expected }) => sum + (count / all) * Math.abs(accuracy - expected), 0);
}

/** Wilson's score interval at 95% of a share that was seen as `correct` of `pairs`; it stays within 0 and 1. */
export function wilsonInterval(correct: number, pairs: number): readonly [low: number, high: number] {
  if (pairs === 0) return [0, 1];
  const z = 1.959963984540054; // the normal distribution's 97.5% quantile
  const share = correct / pairs;
  const scale = 1 + z ** 2 / pairs;
  const centre = (share + z ** 2 / (2 * pairs)) / scale;
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / pairs + z ** 2 / (4 * pairs ** 2));
  return [correct === 0 ? 0 : centre - half, correct === pairs ? 1 : centre + half];
}
