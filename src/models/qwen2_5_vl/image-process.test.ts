import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import expected from "../../../test/fixtures/resize/expected.json" with { type: "json" };
import { noise } from "../../../test/fixtures/resize/noise.ts";
import { imageSizes, type PartSize, prepareImage } from "./image-process.ts";
import { defaultLimits } from "./smart-resize.ts";

const factor = 28;
const defaults = { ...defaultLimits(factor), factor };

describe("pictures are those inside the reference's patches", () => {
  test.each(expected.prepared.filter((prepared) => "sha256" in prepared))(
    "$from with $part, processor $processor",
    ({ from, part, processor, to, sha256 }) => {
      const [width = 0, height = 0] = from;
      const limits = { minPixels: processor.min_pixels, maxPixels: processor.max_pixels, factor };
      const image = prepareImage(noise(width, height, 1), partSize(part), defaults, limits);
      expect([image.width, image.height]).toEqual(to);
      expect(createHash("sha256").update(image.data).digest("hex")).toBe(sha256);
    },
  );
});

describe("what the reference refuses is refused", () => {
  test.each(expected.prepared.filter((prepared) => "error" in prepared))(
    "$from with $part: $error",
    ({ from, part, error }) => {
      const [width = 0, height = 0] = from;
      const code = error?.includes("aspect ratio") ? "media_aspect_ratio" : "media_options";
      expect(() => prepareImage(noise(width, height, 1), partSize(part), defaults, defaults)).toThrow(
        expect.objectContaining({ code }),
      );
    },
  );

  test("one side of an exact size", () => {
    expect(() => prepareImage(noise(9, 9, 1), { resizedWidth: 28 }, defaults, defaults)).toThrow(
      expect.objectContaining({
        code: "media_options",
        message: "a picture has resized_width but no resized_height; give both or neither",
      }),
    );
  });
});

test("a picture too narrow for a limit is named by its own size, and the limit by who set it", () => {
  const narrow = { width: 8000, height: 60 };
  const model = { minPixels: 3136, maxPixels: 28_224, factor };
  const cases = [
    [{}, defaultLimits(factor), model, /^the model's own max_pixels, 28224, .* 8000 x 60 pixels; no option raises it/],
    [{ maxPixels: 50_000 }, defaultLimits(factor), model, /^max_pixels, 50000, .* 8000 x 60 pixels; raise max_pixels$/],
    [
      {},
      { minPixels: 3136, maxPixels: 40_000 },
      model,
      /^--max-pixels, 40000, .* 8000 x 60 pixels; raise --max-pixels/,
    ],
  ] as const;
  for (const [part, given, processor, message] of cases) {
    expect(() => imageSizes(narrow, part, given, processor)).toThrow(message);
  }
});

test("a part's own limits win over the defaults", () => {
  const small = prepareImage(noise(300, 200, 1), {}, { minPixels: 3136, maxPixels: 20_000 }, defaults);
  expect([small.width, small.height]).toEqual([168, 112]);
  const own = prepareImage(
    noise(300, 200, 1),
    { maxPixels: 100_000 },
    { minPixels: 3136, maxPixels: 20_000 },
    defaults,
  );
  expect([own.width, own.height]).toEqual([308, 196]);
});

function partSize(part: Record<string, number | undefined>): PartSize {
  const entries = [
    ["minPixels", part.min_pixels],
    ["maxPixels", part.max_pixels],
    ["resizedHeight", part.resized_height],
    ["resizedWidth", part.resized_width],
  ].filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries);
}
