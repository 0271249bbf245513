import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import expected from "../../test/fixtures/resize/expected.json" with { type: "json" };
import { noise } from "../../test/fixtures/resize/noise.ts";
import { resizeBicubic } from "./resize.ts";

describe("every bit is Pillow's", () => {
  test.each(expected.resized.map((resized, seed) => ({ ...resized, seed })))(
    "$from -> $to",
    ({ from, to, sha256, seed }) => {
      const [width = 0, height = 0] = from;
      const [toWidth = 0, toHeight = 0] = to;
      const image = resizeBicubic(noise(width, height, seed), toWidth, toHeight);
      expect([image.width, image.height]).toEqual(to);
      expect(createHash("sha256").update(image.data).digest("hex")).toBe(sha256);
    },
  );
});

test("one colour stays that colour", () => {
  const image = { width: 31, height: 17, data: new Uint8Array(31 * 17 * 3).fill(201) };
  expect(resizeBicubic(image, 12, 90).data).toEqual(new Uint8Array(12 * 90 * 3).fill(201));
});

test("the same size is the same picture", () => {
  const image = noise(20, 10, 1);
  expect(resizeBicubic(image, 20, 10)).toBe(image);
});
