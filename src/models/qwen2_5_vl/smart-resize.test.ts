import { describe, expect, test } from "vitest";
import expected from "../../../test/fixtures/resize/expected.json" with { type: "json" };
import { exactSize, smartResize } from "./smart-resize.ts";

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

describe("sizes that no model reads are refused", () => {
  const refused = (message: string) =>
    expect.objectContaining({ code: "media_options", message: expect.stringContaining(message) });

  test("enlargements and exact sizes of a thousand million pixels", () => {
    expect(() => smartResize(224, 224, { minPixels: 1e9, maxPixels: 1e9, factor: 28 })).toThrow(
      refused("min_pixels is 1000000000; nothing is enlarged to more than 12845056 pixels"),
    );
    expect(() => exactSize(1e9, 28, 28)).toThrow(refused("resized_height is 1000000000; at most 65536"));
    expect(() => exactSize(28, 1e15, 28)).toThrow(refused("resized_width is 1000000000000000"));
    expect(exactSize(60_000, 60_000, 28)).toEqual({ height: 3584, width: 3584 }); // as the reference reduces it
    expect(smartResize(224, 224, { minPixels: 3136, maxPixels: 1e9, factor: 28 })).toEqual({ height: 224, width: 224 });
  });
});

test("an error names the picture's own size and what set the limit", () => {
  const subject = { picture: { height: 60, width: 8000 }, limit: "the model's own max_pixels", remedy: "crop it" };
  expect(() => smartResize(56, 8008, { minPixels: 28_224, maxPixels: 28_224, factor: 28 }, subject)).toThrow(
    "the model's own max_pixels, 28224, leaves less than one token (28 pixels) of the shorter side of a picture of " +
      "8000 x 60 pixels; crop it",
  );
  expect(() => smartResize(28, 8008, { minPixels: 3136, maxPixels: 1e6, factor: 28 }, subject)).toThrow(
    "a picture of 8000 x 60 pixels, resized to 8008 x 28, has an aspect ratio of 286.0; at most 200 is possible",
  );
});
