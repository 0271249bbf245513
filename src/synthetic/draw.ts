/**
 * @file Draws a document's picture. What must be told apart (colour, shape, place, height) is drawn as the facts say;
 * the rest, such as the ground and the exact tint, is drawn by lot.
 */
import { Canvas, type Ink, type Picture, type Polygon, type Rectangle } from "./canvas.ts";
import type { Draws } from "./draws.ts";
import { glyphHeight, glyphOf, glyphWidth } from "./font.ts";
import { type Chart, type Colour, type Facts, type SceneObject, type Shape, side, type Writing } from "./world.ts";

export const inks: Readonly<Record<Colour, Ink>> = {
  red: [214, 38, 38],
  green: [34, 150, 60],
  blue: [40, 76, 214],
  yellow: [238, 206, 24],
  purple: [128, 44, 172],
  pink: [244, 142, 188],
  black: [26, 26, 26],
  cyan: [38, 190, 208],
};

/** Corners in thousandths of the radius; all cover about as much. */
const outlines: Readonly<Record<Exclude<Shape, "circle">, Polygon>> = {
  square: [-840, -840, 840, -840, 840, 840, -840, 840],
  triangle: [0, -1000, 1000, 840, -1000, 840],
  star: [0, -1000, 245, -337, 951, -309, 396, 129, 588, 809, 0, 416, -588, 809, -396, 129, -951, -309, -245, -337],
  cross: [
    -330, -1000, 330, -1000, 330, -330, 1000, -330, 1000, 330, 330, 330, 330, 1000, -330, 1000, -330, 330, -1000, 330,
    -1000, -330, -330, -330,
  ],
  diamond: [0, -1000, 760, 0, 0, 1000, -760, 0],
};

const chartBox = { left: 720, right: 9_720, bottom: 9_360, unit: 1_080 }; // units; eight values high

/** @param size pixels a side */
export function draw(facts: Facts, size: number, draws: Draws): Picture | undefined {
  if (facts.kind === "text") return undefined;
  const canvas = new Canvas(size, side, tinted([238, 238, 238], 16, draws));
  if (facts.kind === "chart") drawChart(canvas, facts, draws);
  else if (facts.kind === "writing") drawWriting(canvas, facts, draws);
  else for (const object of facts.objects) drawObject(canvas, object, draws);
  return canvas;
}

/** A picture of nothing where `draw` would make one. */
export const blankOf = (facts: Facts, size: number): Picture | undefined =>
  facts.kind === "text" ? undefined : new Canvas(size, side, [128, 128, 128]);

function tinted(ink: Ink, by: number, draws: Draws): Ink {
  const shift = (value: number) => Math.min(255, Math.max(0, value + draws.between(-by, by)));
  return [shift(ink[0]), shift(ink[1]), shift(ink[2])];
}

const inkOf = (colour: Colour, draws: Draws): Ink => tinted(inks[colour], 12, draws);

function drawObject(canvas: Canvas, { colour, shape, x, y, radius }: SceneObject, draws: Draws): void {
  const ink = inkOf(colour, draws);
  if (shape === "circle") canvas.circle(x, y, Math.floor((radius * 19) / 20), ink);
  else canvas.polygon(x, y, radius, outlines[shape], ink);
}

function drawChart(canvas: Canvas, { bars }: Chart, draws: Draws): void {
  const { left, right, bottom, unit } = chartBox;
  for (let value = 1; value <= 8; value++) {
    const y = bottom - value * unit;
    canvas.rectangle(left, y - 30, right, y + 30, [200, 200, 200]);
  }
  const pitch = Math.floor((right - left) / bars.length);
  const half = Math.min(1500, Math.floor((pitch * draws.between(30, 40)) / 100));
  for (const [index, { colour, value }] of bars.entries()) {
    const x = left + index * pitch + Math.floor(pitch / 2);
    canvas.rectangle(x - half, bottom - value * unit, x + half, bottom, inkOf(colour, draws));
  }
  canvas.rectangle(left, bottom - 45, right, bottom + 45, [60, 60, 60]);
  canvas.rectangle(left - 45, bottom - 8 * unit, left + 45, bottom + 45, [60, 60, 60]);
}

/** How wide a text is, in dots: glyphs with a dot between them. */
export const dotsOf = (text: string): number => (glyphWidth + 1) * text.length - 1;

function drawWriting(canvas: Canvas, { text, colour, height, x, y }: Writing, draws: Draws): void {
  const ink = inkOf(colour, draws);
  const dot = Math.floor(height / glyphHeight);
  const left = x - Math.floor((dotsOf(text) * dot) / 2);
  const top = y - Math.floor((glyphHeight * dot) / 2);
  const dots = [...text].flatMap((character, index) => {
    const start = left + index * (glyphWidth + 1) * dot;
    return glyphOf(character).map(
      ([from, to, row]): Rectangle => [start + from * dot, top + row * dot, start + to * dot, top + (row + 1) * dot],
    );
  });
  canvas.rectangles(dots, ink);
}
