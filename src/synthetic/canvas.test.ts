import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { Canvas, type Polygon } from "./canvas.ts";
import { glyphOf } from "./font.ts";
import { pngOf } from "./png.ts";

const [white, black] = [
  [255, 255, 255],
  [0, 0, 0],
] as const;

/** How much of the picture is black, in pixels. */
const inked = ({ data }: Canvas): number => data.reduce((sum, value) => sum + (255 - value), 0) / 255 / 3;

const red = (canvas: Canvas, x: number, y: number) => canvas.data[3 * (y * canvas.width + x)];

describe("a canvas", () => {
  test("is the ground where nothing is painted", () => {
    expect([...new Canvas(2, 100, [1, 2, 3]).data]).toEqual([1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
  });

  test("mixes a pixel by how much of it is covered", () => {
    const canvas = new Canvas(4, 16, white); // four units are a pixel
    canvas.rectangle(1, 4, 10, 7, black);
    const rows = [0, 1, 2].map((y) => [0, 1, 2, 3].map((x) => red(canvas, x, y)));
    // Of the second row three quarters are covered: of its pixels three quarters, all, and half.
    const mixed = (covered: number) => (255 * (16 - covered) + 8) >> 4;
    expect(rows).toEqual([
      [255, 255, 255, 255],
      [mixed(9), mixed(12), mixed(6), 255],
      [255, 255, 255, 255],
    ]);
  });

  test("has no seam where rectangles of one surface touch", () => {
    const canvas = new Canvas(8, 80, white);
    canvas.rectangles(
      [
        [0, 0, 80, 33],
        [0, 33, 47, 80],
        [47, 33, 80, 80],
      ],
      black,
    );
    expect(new Set(canvas.data)).toEqual(new Set([0]));
  });

  test("cuts off what lies outside", () => {
    const canvas = new Canvas(8, 8, white);
    canvas.circle(0, 0, 4, black);
    canvas.rectangle(-5, 6, 50, 50, black);
    expect(Math.abs(inked(canvas) - (4 * Math.PI + 16))).toBeLessThan(0.5);
  });

  test.each([20, 33, 47])("paints a circle of radius %i: its area, and the same in all four directions", (radius) => {
    const canvas = new Canvas(112, 112, white);
    canvas.circle(56, 56, radius, black);
    expect(Math.abs(inked(canvas) / (Math.PI * radius ** 2) - 1)).toBeLessThan(0.004);
    for (let y = 0; y < 112; y++) {
      for (let x = 0; x < 112; x++) {
        expect(red(canvas, x, y)).toBe(red(canvas, 111 - x, y));
        expect(red(canvas, x, y)).toBe(red(canvas, y, x));
      }
    }
  });

  const polygons: Record<string, Polygon> = {
    square: [-500, -500, 500, -500, 500, 500, -500, 500],
    triangle: [0, -1000, 900, 700, -800, 900],
    arrow: [-1000, -1000, 1000, 0, -1000, 1000, -300, 0],
  };
  test.each(Object.entries(polygons))("paints a %s of the area that the shoelace formula gives", (_, corners) => {
    const canvas = new Canvas(120, 1200, white);
    canvas.polygon(600, 600, 500, corners, black);
    const points = Array.from({ length: corners.length / 2 }, (_, at) => [
      corners[2 * at] ?? 0,
      corners[2 * at + 1] ?? 0,
    ]);
    const twice = points.reduce((sum, [x0 = 0, y0 = 0], at) => {
      const [x1 = 0, y1 = 0] = points[(at + 1) % points.length] ?? [];
      return sum + x0 * y1 - x1 * y0;
    }, 0);
    expect(Math.abs(inked(canvas) / ((Math.abs(twice) / 2 / 1e6) * 50 ** 2) - 1)).toBeLessThan(0.01);
  });
});

test("no two letters or digits differ in one dot only", () => {
  const characters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"];
  const dotsOf = (character: string) =>
    new Set(
      glyphOf(character).flatMap(([from, to, row]) =>
        Array.from({ length: to - from }, (_, at) => `${from + at},${row}`),
      ),
    );
  for (const [index, a] of characters.entries()) {
    for (const b of characters.slice(index + 1)) {
      const [dots, others] = [dotsOf(a), dotsOf(b)];
      const common = [...dots].filter((dot) => others.has(dot)).length;
      expect(dots.size + others.size - 2 * common, a + b).toBeGreaterThan(1);
    }
  }
  expect(() => glyphOf("a")).toThrow('the font has no "a"');
});

test.each([1, 28, 113])("a PNG of %i pixels a side is decoded to the picture's bytes", async (size) => {
  const canvas = new Canvas(size, 1000, [250, 128, 3]);
  canvas.circle(400, 600, 380, [12, 200, 77]);
  canvas.rectangle(100, 100, 350, 900, [255, 0, 255]);
  const { data, info } = await sharp(pngOf(canvas)).raw().toBuffer({ resolveWithObject: true });
  expect([info.width, info.height, info.channels]).toEqual([size, size, 3]);
  expect(data.equals(canvas.data)).toBe(true);
});
