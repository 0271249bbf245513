import { expect, test } from "vitest";
import type { DecoderShape, Shape, VisionShape } from "../../models/backbone.ts";
import { threadsFor } from "./thread-count.ts";

const shaped = (decoder: Partial<DecoderShape>, vision: Partial<VisionShape> = {}): Shape => ({
  decoder: {
    vocabulary: 152_064,
    hidden: 3584,
    intermediate: 18_944,
    layers: 28,
    heads: 28,
    keyValueHeads: 4,
    headWidth: 128,
    maxPositions: 128_000,
    ...decoder,
  },
  vision: { hidden: 1280, intermediate: 3420, patchNumbers: 1176, patchesPerToken: 4, ...vision },
});

test.each([
  ["3B", shaped({ hidden: 2048, intermediate: 11_008, heads: 16, keyValueHeads: 2 })],
  ["7B", shaped({})],
  ["32B", shaped({ hidden: 5120, intermediate: 27_648, heads: 40, keyValueHeads: 8 }, { intermediate: 3456 })],
  ["72B", shaped({ hidden: 8192, intermediate: 29_568, heads: 64, keyValueHeads: 8 }, { intermediate: 3456 })],
])("the published %s takes all threads", (_, shape) => {
  expect([1, 2, 64].map((available) => threadsFor(shape, available))).toEqual([1, 2, 64]);
});

test("a small model takes one", () => {
  expect(threadsFor(shaped({ hidden: 64, intermediate: 160, heads: 4, keyValueHeads: 2, headWidth: 16 }), 64)).toBe(1);
});

test.each([
  ["keys of 24 columns", shaped({ headWidth: 24, heads: 150, keyValueHeads: 1 })],
  ["a vision tower of 3400 in its MLP", shaped({}, { intermediate: 3400 })],
])("%s: no more than two", (_, shape) => {
  expect([1, 2, 64].map((available) => threadsFor(shape, available))).toEqual([1, 2, 2]);
});

test("a model without a vision tower", () => {
  const { decoder } = shaped({});
  expect(threadsFor({ decoder }, 64)).toBe(64);
});
