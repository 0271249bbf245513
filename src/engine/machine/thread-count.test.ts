import { expect, test } from "vitest";
import type { Qwen25VLConfig } from "../../models/qwen2_5_vl/config.ts";
import { threadsFor } from "./thread-count.ts";

type Widths = Partial<Record<"hiddenSize" | "intermediateSize" | "heads" | "keyValueHeads", number>>;

function shaped(text: Widths, vision: Widths = {}): Qwen25VLConfig {
  return {
    text: { hiddenSize: 3584, intermediateSize: 18_944, heads: 28, keyValueHeads: 4, ...text },
    vision: { hiddenSize: 1280, intermediateSize: 3420, spatialMergeSize: 2, ...vision },
  } as Qwen25VLConfig;
}

test.each([
  ["3B", shaped({ hiddenSize: 2048, intermediateSize: 11_008, heads: 16, keyValueHeads: 2 })],
  ["7B", shaped({})],
  [
    "32B",
    shaped({ hiddenSize: 5120, intermediateSize: 27_648, heads: 40, keyValueHeads: 8 }, { intermediateSize: 3456 }),
  ],
  [
    "72B",
    shaped({ hiddenSize: 8192, intermediateSize: 29_568, heads: 64, keyValueHeads: 8 }, { intermediateSize: 3456 }),
  ],
])("the published %s takes all threads", (_, config) => {
  expect([1, 2, 64].map((available) => threadsFor(config, available))).toEqual([1, 2, 64]);
});

test("a small model takes one", () => {
  expect(threadsFor(shaped({ hiddenSize: 64, intermediateSize: 160, heads: 4, keyValueHeads: 2 }), 64)).toBe(1);
});

test.each([
  ["keys of 24 columns", shaped({ hiddenSize: 3600, heads: 150, keyValueHeads: 1 })],
  ["a vision tower of 3400 in its MLP", shaped({}, { intermediateSize: 3400 })],
])("%s: no more than two", (_, config) => {
  expect([1, 2, 64].map((available) => threadsFor(config, available))).toEqual([1, 2, 2]);
});
