/**
 * @file A picture in a terminal: each cell is an upper half block, its own colour above and the background's below.
 */
import { WriteStream } from "node:tty";
import type { RgbImage } from "../../media/image.ts";

type Colour = readonly [red: number, green: number, blue: number];

/**
 * Bits of a colour that standard output has, 1 for none, as NO_COLOR, COLORTERM and TERM say; what is no terminal has colours
 * with FORCE_COLOR only.
 */
export function colourDepth(isTerminal: boolean, env: NodeJS.ProcessEnv): number {
  return isTerminal || env.FORCE_COLOR !== undefined ? WriteStream.prototype.getColorDepth(env) : 1;
}

/**
 * -> the rows of the picture, each as wide as `columns` cells.
 *
 * @param columns at most the picture's width
 * @param depth bits of a colour that the terminal has: 24, or 8 for the palette of 256
 */
export function terminalPicture(image: RgbImage, columns: number, depth: 8 | 24): string[] {
  const rows = Math.max(1, Math.round((columns * image.height) / image.width / 2));
  const code =
    depth === 24 ? (colour: Colour) => `2;${colour.join(";")}` : (colour: Colour) => `5;${paletteOf(colour)}`;
  return Array.from({ length: rows }, (_, row) => {
    const cells = Array.from({ length: columns }, (_, column) => {
      const [above, below] = [2 * row, 2 * row + 1].map((y) => meanOf(image, column, y, columns, 2 * rows));
      return `\x1b[38;${code(above ?? black)};48;${code(below ?? black)}m▀`;
    });
    return `${cells.join("")}\x1b[0m`;
  });
}

const black: Colour = [0, 0, 0];

/** The mean of the pixels below (x, y) of a grid of `columns` x `rows` laid over the picture. */
function meanOf({ width, height, data }: RgbImage, x: number, y: number, columns: number, rows: number): Colour {
  const [left, right] = [Math.floor((x * width) / columns), Math.floor(((x + 1) * width) / columns)];
  const top = Math.floor((y * height) / rows);
  const bottom = Math.max(top + 1, Math.floor(((y + 1) * height) / rows));
  const sums = [0, 0, 0];
  for (let line = top; line < bottom; line++) {
    for (let at = 3 * (line * width + left); at < 3 * (line * width + right); at++) {
      sums[at % 3] = (sums[at % 3] ?? 0) + (data[at] ?? 0);
    }
  }
  const [red = 0, green = 0, blue = 0] = sums.map((sum) => Math.round(sum / ((right - left) * (bottom - top))));
  return [red, green, blue];
}

/** xterm's palette: from 16 a cube of six levels a colour, from 232 greys; greys are finer there than in the cube. */
function paletteOf([red, green, blue]: Colour): number {
  const grey = Math.round(((red + green + blue) / 3 - 8) / 10);
  if (Math.max(red, green, blue) - Math.min(red, green, blue) < 10 && grey >= 0 && grey < 24) return 232 + grey;
  const level = (value: number) => (value < 48 ? 0 : value < 115 ? 1 : Math.floor((value - 35) / 40));
  return 16 + 36 * level(red) + 6 * level(green) + level(blue);
}
