import { describe, expect, test } from "vitest";
import expected from "../../../test/fixtures/resize/expected.json" with { type: "json" };
import { smartResize } from "./smart-resize.ts";

const limits = { minPixels: 3136, maxPixels: 12_845_056, factor: 28 };

test("sizes are those of qwen_vl_utils", () => {
  const answers = expected.sizes.map(([height = 0, width = 0, minPixels = 0, maxPixels = 0, factor = 0]) => {
    const size = smartResize(height, width, { minPixels, maxPixels, factor });
    return [height, width, minPixels, maxPixels, factor, size.height, size.width];
  });
  expect(answers).toEqual(expected.sizes);
});

test("a half goes to the even neighbour, as in Python", () => {
  expect(smartResize(70, 98, limits)).toEqual({ height: 56, width: 112 }); // 2.5 -> 2, 3.5 -> 4
});

describe("errors", () => {
  test("200 times as long as wide is possible, more is not", () => {
    expect(smartResize(30, 6000, limits)).toEqual({ height: 28, width: 5992 });
    expect(() => smartResize(30, 6001, limits)).toThrow(expect.objectContaining({ code: "media_aspect_ratio" }));
  });

  test("limits that contradict each other", () => {
    expect(() => smartResize(50, 50, { ...limits, maxPixels: 3135 })).toThrow(
      expect.objectContaining({
        code: "media_options",
        message: "max_pixels is 3135, less than min_pixels, which is 3136",
      }),
    );
  });

  test("limits that leave nothing of the shorter side", () => {
    expect(() => smartResize(9000, 60, { ...limits, maxPixels: 50_000 })).toThrow(
      expect.objectContaining({ code: "media_options", message: expect.stringContaining("raise max_pixels") }),
    );
  });
});
