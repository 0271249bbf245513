/**
 * @file A picture and what can be painted on it, in whole numbers only: the bytes are the same on every machine.
 *
 * Edges are smooth: each pixel is looked at in 4 x 4 points, and its colour is mixed by how many of them are covered. A
 * point has odd coordinates in eighths of a pixel, corners have even ones, so that no point lies on a corner.
 */

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array; // [height, width, 3], red, green, blue
}

export type Ink = readonly [red: number, green: number, blue: number];

/** Corners as x, y, x, y, ...; in what, the caller says. */
export type Polygon = readonly number[];

export type Rectangle = readonly [left: number, top: number, right: number, bottom: number];

const points = 4; // a pixel's side in points
const eighths = 2 * points;

export class Canvas implements Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array<ArrayBuffer>;
  readonly #unit: number;
  readonly #covered: Uint8Array; // points of each pixel of one row

  /** @param unit the picture's sides in the units that coordinates are given in */
  constructor(size: number, unit: number, ground: Ink) {
    this.width = size;
    this.height = size;
    this.#unit = unit;
    this.#covered = new Uint8Array(size);
    this.data = new Uint8Array(3 * size * size);
    this.data.set(ground);
    for (let filled = 3; filled < this.data.length; filled *= 2) this.data.copyWithin(filled, 0, filled);
  }

  rectangle(left: number, top: number, right: number, bottom: number, ink: Ink): void {
    this.rectangles([[left, top, right, bottom]], ink);
  }

  /** Rectangles that do not overlap, as one surface: there is no seam where they touch. */
  rectangles(all: readonly Rectangle[], ink: Ink): void {
    const at = all.map((corners) => corners.map((units) => this.#eighths(units)));
    const top = Math.min(...at.map(([, top = 0]) => top));
    const bottom = Math.max(...at.map(([, , , bottom = 0]) => bottom));
    this.#paint(top, bottom, ink, (line, span) => {
      for (const [x0 = 0, y0 = 0, x1 = 0, y1 = 0] of at) if (y0 < line && line < y1) span(x0, x1);
    });
  }

  circle(x: number, y: number, radius: number, ink: Ink): void {
    const [cx, cy, r] = [this.#eighths(x), this.#eighths(y), this.#eighths(radius)];
    this.#paint(cy - r, cy + r, ink, (line, span) => {
      const half = rootBelow(r * r - (line - cy) ** 2);
      span(cx - half, cx + half + 1);
    });
  }

  /** A polygon around (x, y); its corners are in thousandths of the radius. */
  polygon(x: number, y: number, radius: number, corners: Polygon, ink: Ink): void {
    const at = corners.map((corner, index) =>
      this.#eighths((index % 2 === 0 ? x : y) + Math.round((corner * radius) / 1000)),
    );
    const heights = at.filter((_, index) => index % 2 === 1);
    this.#paint(Math.min(...heights), Math.max(...heights), ink, (line, span) => {
      const crossings = crossingsOf(at, line);
      for (let index = 0; index + 1 < crossings.length; index += 2) {
        span(crossings[index] ?? 0, crossings[index + 1] ?? 0);
      }
    });
  }

  /** From units to eighths of a pixel, to the nearest even one. */
  #eighths(units: number): number {
    return 2 * Math.round((units * this.width * points) / this.#unit);
  }

  /** Paints what `spansOf` says of each line of points between `top` and `bottom`. */
  #paint(
    top: number,
    bottom: number,
    ink: Ink,
    spansOf: (line: number, span: (from: number, to: number) => void) => void,
  ): void {
    let [left, right] = [this.width, 0];
    const span = (from: number, to: number) => {
      const first = Math.max(0, from >> 1); // the points 2n + 1 between from and to
      const end = Math.min(points * this.width, to >> 1);
      if (first >= end) return;
      left = Math.min(left, first >> 2);
      right = Math.max(right, ((end - 1) >> 2) + 1);
      this.#cover(first, end);
    };
    const last = Math.min(this.height, Math.ceil(bottom / eighths));
    for (let y = Math.max(0, Math.floor(top / eighths)); y < last; y++) {
      for (let line = y * eighths + 1; line < (y + 1) * eighths; line += 2) {
        if (line > top && line < bottom) spansOf(line, span);
      }
      this.#mix(y, left, right, ink);
      [left, right] = [this.width, 0];
    }
  }

  /** Counts the points from `first` to `end` - 1 of a line. */
  #cover(first: number, end: number): void {
    const covered = this.#covered;
    const [from, to] = [first >> 2, (end - 1) >> 2];
    if (from === to) {
      covered[from] = (covered[from] ?? 0) + end - first;
      return;
    }
    covered[from] = (covered[from] ?? 0) + points * (from + 1) - first;
    for (let x = from + 1; x < to; x++) covered[x] = (covered[x] ?? 0) + points;
    covered[to] = (covered[to] ?? 0) + end - points * to;
  }

  #mix(y: number, left: number, right: number, [red, green, blue]: Ink): void {
    const [covered, data] = [this.#covered, this.data];
    const all = points * points;
    for (let x = left, at = 3 * (y * this.width + left); x < right; x++, at += 3) {
      const share = covered[x] ?? 0;
      covered[x] = 0;
      if (share === 0) continue;
      const rest = all - share;
      data[at] = ((data[at] ?? 0) * rest + red * share + 8) >> 4;
      data[at + 1] = ((data[at + 1] ?? 0) * rest + green * share + 8) >> 4;
      data[at + 2] = ((data[at + 2] ?? 0) * rest + blue * share + 8) >> 4;
    }
  }
}

/** The largest whole number whose square is not above `square`. */
function rootBelow(square: number): number {
  let root = Math.floor(Math.sqrt(square));
  while (root * root > square) root--;
  while ((root + 1) * (root + 1) <= square) root++;
  return root;
}

/** Where the edges of a polygon cross a line, from left to right, each rounded up: exact, for a quotient of small whole
 * numbers that is not whole is further from a whole number than its rounding error. */
function crossingsOf(at: Polygon, line: number): number[] {
  const crossings: number[] = [];
  for (let index = 0; index < at.length; index += 2) {
    const [x0 = 0, y0 = 0] = [at[index], at[index + 1]];
    const next = (index + 2) % at.length;
    const [x1 = 0, y1 = 0] = [at[next], at[next + 1]];
    if (y0 < line === y1 < line) continue;
    crossings.push(x0 + Math.ceil(((line - y0) * (x1 - x0)) / (y1 - y0)));
  }
  return crossings.sort((a, b) => a - b);
}
