/**
 * @file Counted work against figures for the published 7B that were worked out apart from this code: one pair over a
 * picture of 74 x 74 patches, 1,429 tokens of prompt and answers of 150. In TFLOP.
 */
import { describe, expect, test } from "vitest";
import { decoderWork, plainLoad, sharedLoad, visionWork } from "../../bench/counted-work.mjs";
import type { TextConfig, VisionConfig } from "../../src/models/qwen2_5_vl/config.ts";

const vision: VisionConfig = {
  depth: 32,
  hiddenSize: 1280,
  intermediateSize: 3420,
  heads: 16,
  patchSize: 14,
  spatialMergeSize: 2,
  temporalPatchSize: 2,
  tokensPerSecond: 2,
  windowSize: 112,
  outHiddenSize: 3584,
  fullAttentionBlocks: [7, 15, 23, 31],
};
const text: TextConfig = {
  vocabSize: 152_064,
  hiddenSize: 3584,
  intermediateSize: 18_944,
  layers: 28,
  heads: 28,
  keyValueHeads: 4,
  maxPositions: 128_000,
  normEpsilon: 1e-6,
  ropeTheta: 1e6,
  mropeSection: [16, 24, 24],
};

const [prefix, answer] = [1429, 150];
const answers = (count: number): number[] => new Array<number>(count).fill(answer);
const tera = (flop: number): number => flop / 1e12;

const picture = tera(visionWork(vision, { t: 1, h: 74, w: 74 }));
const alone = tera(decoderWork(text, plainLoad(prefix + answer)));
const languageHead = tera(2 * (prefix + answer) * text.hiddenSize * text.vocabSize);

describe("a plain forward", () => {
  test("of the vision tower", () => {
    expect(picture).toBeCloseTo(7.7, 2);
  });

  test("of a sequence: linears 20.6, attention 0.50", () => {
    expect(alone).toBeCloseTo(20.6 + 0.5, 1);
    expect(tera(decoderWork(text, { tokens: 1, pairs: 0, readTokens: 1, readPairs: 0 })) * 1000).toBeCloseTo(13.05, 2);
  });

  test.each([
    { count: 2, withHead: 61.1, without: 57.6, digits: 1 },
    { count: 8, withHead: 244, without: 230, digits: 0 },
  ])(
    "for each of $count answers, with and without the language model's head",
    ({ count, withHead, without, digits }) => {
      expect(count * (picture + alone + languageHead)).toBeCloseTo(withHead, digits);
      expect(count * (picture + alone)).toBeCloseTo(without, digits);
    },
  );
});

describe("a shared forward", () => {
  test.each([
    [2, 30.0],
    [8, 41.9],
  ])("of %i answers", (count, expected) => {
    const shared = tera(decoderWork(text, sharedLoad(prefix, answers(count), { cached: false })));
    expect(picture + shared).toBeCloseTo(expected, 1);
  });

  test.each([
    [2, 4.1],
    [8, 16.4],
  ])("of %i answers to a prompt that is cached", (count, expected) => {
    const load = sharedLoad(prefix, answers(count), { cached: true });
    // The figures let every token through the whole of the last layer.
    const unpruned = { ...load, readTokens: load.tokens, readPairs: load.pairs };
    expect(tera(decoderWork(text, unpruned))).toBeCloseTo(expected, 1);
    const mlpAndOutput = 2 * (2 * 3584 ** 2 + 3 * 3584 * 18_944); // and queries, of one token
    const pairs = count * (150 * 1429 + (150 * 151) / 2 - (1429 + 150)); // of all tokens but the last
    const pruned = count * 149 * mlpAndOutput + pairs * 4 * 3584;
    expect(decoderWork(text, unpruned) - decoderWork(text, load)).toBe(pruned);
  });
});

test("windows are cut at the border: 9 x 9 patches are one of 8 x 8, two of 8 x 1 and one of 1 x 1", () => {
  const windowed = { ...vision, fullAttentionBlocks: [] };
  const whole = { ...vision, windowSize: 14 * 2 * 100 }; // one window over everything
  const pairs = 64 ** 2 + 2 * 8 ** 2 + 1;
  const difference = visionWork({ ...whole, fullAttentionBlocks: [] }, { t: 3, h: 9, w: 9 });
  expect(difference - visionWork(windowed, { t: 3, h: 9, w: 9 })).toBe(32 * 3 * 4 * 1280 * (81 ** 2 - pairs));
});
