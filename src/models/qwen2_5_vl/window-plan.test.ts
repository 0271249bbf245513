import { describe, expect, test } from "vitest";
import golden from "../../../test/fixtures/model/windows.json" with { type: "json" };
import type { Grid } from "../prompt.ts";
import { parseConfig } from "./config.ts";
import { planWindows, visualTokens } from "./window-plan.ts";

const { vision } = parseConfig(
  {
    model_type: "qwen2_5_vl",
    vision_config: {},
    image_token_id: 1,
    video_token_id: 2,
    vocab_size: 1,
    hidden_size: 3584,
    intermediate_size: 1,
    num_hidden_layers: 1,
    num_attention_heads: 28,
    num_key_value_heads: 4,
    rope_scaling: { type: "mrope", mrope_section: [16, 24, 24] },
  },
  "config.json",
);
const side = 4; // units of 28 pixels in a window of 112

/** The plan's windows as the units they hold. */
function windowsOf(grids: readonly Grid[]): number[][] {
  const { unitOrder, windows } = planWindows(grids, vision);
  const units: number[][] = [];
  let start = 0;
  for (const { count, length } of windows) {
    for (let i = 0; i < count; i++) {
      units.push([...unitOrder.subarray(start, start + length / 4)]);
      start += length / 4;
    }
  }
  expect(start).toBe(unitOrder.length);
  return units;
}

test.each(golden)("windows are the reference's: $grids", ({ grids, windows }) => {
  const found = windowsOf(grids.map(([t = 0, h = 0, w = 0]) => ({ t, h, w })));
  const byFirst = (a: number[], b: number[]): number => (a[0] ?? 0) - (b[0] ?? 0);
  expect(found.sort(byFirst)).toEqual(windows.sort(byFirst));
});

describe("for any pictures and videos", () => {
  // Sizes from a fixed sequence, 1 to 11 units a side and 1 to 3 frames.
  let state = 7;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >> 16) % limit;
  };
  const cases = Array.from({ length: 40 }, () =>
    Array.from({ length: 1 + below(4) }, () => ({ t: 1 + below(3), h: 2 + 2 * below(11), w: 2 + 2 * below(11) })),
  );

  test.each(cases.map((grids) => ({ name: grids.map(({ t, h, w }) => `${t}x${h}x${w}`).join(" "), grids })))(
    "$name",
    ({ grids }) => {
      // Frame, row and column of every unit in picture order.
      const units = grids.flatMap(({ t, h, w }, picture) =>
        Array.from({ length: (t * h * w) / 4 }, (_, i) => {
          const perFrame = (h * w) / 4;
          const inFrame = i % perFrame;
          return {
            frame: `${picture}:${Math.floor(i / perFrame)}`,
            row: Math.floor(inFrame / (w / 2)),
            column: inFrame % (w / 2),
          };
        }),
      );
      const plan = planWindows(grids, vision);
      expect([...plan.unitOrder].sort((a, b) => a - b)).toEqual([...units.keys()]);
      expect([...plan.unitPlaces].map((place) => plan.unitOrder[place])).toEqual([...units.keys()]);

      // Together if and only if they lie in the same square of the same frame.
      const squares = windowsOf(grids).map((window) => {
        const names = window.map((unit) => {
          const { frame = "", row = 0, column = 0 } = units[unit] ?? {};
          return `${frame} ${Math.floor(row / side)} ${Math.floor(column / side)}`;
        });
        return [...new Set(names)];
      });
      expect(squares.every((names) => names.length === 1)).toBe(true);
      expect(new Set(squares.flat()).size).toBe(squares.length);

      const lengths = plan.windows.map(({ length }) => length);
      expect(new Set(lengths).size).toBe(lengths.length);
      // A frame's windows have four lengths at most: inside, at the right, at the bottom, in the corner.
      expect(lengths.length).toBeLessThanOrEqual(4 * new Set(grids.map(({ h, w }) => `${h} ${w}`)).size);

      const frames = plan.frames.flatMap(({ count, length }) => new Array<number>(count).fill(length));
      expect(frames).toEqual(grids.flatMap(({ t, h, w }) => new Array<number>(t).fill(h * w)));
      for (const [i, { length }] of plan.frames.entries()) expect(plan.frames[i + 1]?.length).not.toBe(length);
    },
  );
});

test("a visual token for every four patches", () => {
  expect(visualTokens({ t: 3, h: 4, w: 10 }, 2)).toBe(30);
  expect(visualTokens({ t: 1, h: 6, w: 9 }, 3)).toBe(6);
});
