import { expect, test } from "vitest";
import cases from "../../../test/fixtures/model/rope-index.json" with { type: "json" };
import { ropeIndex } from "./rope-index.ts";

test.each(cases)("positions are the reference's: $name", ({ tokens, spans, positions, ...config }) => {
  const visual = spans.map(({ start, grid: [t = 0, h = 0, w = 0], secondsPerGrid }) => ({
    start,
    grid: { t, h, w },
    secondsPerGrid,
  }));
  expect([...ropeIndex(tokens, visual, config)]).toEqual(positions.flat());
});
