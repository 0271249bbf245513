import { expect, test } from "vitest";
import { colourDepth, terminalPicture } from "./terminal-picture.ts";

const picture = (width: number, ...pixels: readonly (readonly [number, number, number])[]) => ({
  width,
  height: pixels.length / width,
  data: Uint8Array.from(pixels.flat()),
});

const [red, green, blue, white] = [
  [255, 0, 0],
  [0, 255, 0],
  [0, 0, 255],
  [255, 255, 255],
] as const;

test("two pixels above each other are one cell: foreground above, background below", () => {
  expect(terminalPicture(picture(2, red, green, blue, white), 2, 24)).toEqual([
    "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[38;2;0;255;0;48;2;255;255;255m▀\x1b[0m",
  ]);
});

test("a cell's colours are means of the pixels below it, whether or not the grid divides the picture", () => {
  const columns = [red, blue, blue, white];
  expect(terminalPicture(picture(4, ...columns, ...columns, ...columns, ...columns), 2, 24)).toEqual([
    "\x1b[38;2;128;0;128;48;2;128;0;128m▀\x1b[38;2;128;128;255;48;2;128;128;255m▀\x1b[0m",
  ]);
  // Three columns of pixels on two cells: the first has one of them, the second two.
  const three = [red, green, blue];
  expect(terminalPicture(picture(3, ...three, ...three, ...three), 2, 24)).toEqual([
    "\x1b[38;2;255;0;0;48;2;255;0;0m▀\x1b[38;2;0;128;128;48;2;0;128;128m▀\x1b[0m",
  ]);
});

test("the sides keep their ratio, a cell being twice as high as it is wide", () => {
  const wide = picture(40, ...Array.from({ length: 40 * 20 }, () => red));
  expect(terminalPicture(wide, 20, 24)).toHaveLength(5);
});

test.each([
  [[0, 0, 0], 16],
  [[255, 0, 0], 196],
  [[0, 255, 0], 46],
  [[0, 0, 255], 21],
  [[95, 135, 175], 67],
  [[128, 128, 128], 244],
  [[238, 238, 238], 255],
  [[255, 255, 255], 231],
] as const)("in 256 colours %j is %i, as xterm's palette has it", (colour, index) => {
  expect(terminalPicture(picture(1, colour, colour), 1, 8)).toEqual([`\x1b[38;5;${index};48;5;${index}m▀\x1b[0m`]);
});

test.each([
  [true, { TERM: "xterm-256color", COLORTERM: "truecolor" }, 24],
  [true, { TERM: "xterm-256color" }, 8],
  [true, { TERM: "xterm-256color", COLORTERM: "truecolor", NO_COLOR: "1" }, 1],
  [true, { TERM: "dumb" }, 1],
  [false, { TERM: "xterm-256color", COLORTERM: "truecolor" }, 1],
  [false, { TERM: "xterm-256color", FORCE_COLOR: "3" }, 24],
  [true, { TERM: "xterm-256color", COLORTERM: "truecolor", FORCE_COLOR: "0" }, 1],
])("colours of standard output, a terminal: %j, in %j: %i bits", (isTerminal, env, depth) => {
  expect(colourDepth(isTerminal, env)).toBe(depth);
});
