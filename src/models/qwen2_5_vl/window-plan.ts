/**
 * @file Which patches attend to each other in the vision tower. Most blocks attend within windows of 112 pixels, the others
 * within a frame. Patches are laid out window by window, windows of equal size side by side, so that all windows of one
 * size, whatever their picture, are one batch of one attention call and no mask is ever built.
 *
 * A unit is the square of spatialMergeSize^2 patches that becomes one visual token; units move, patches within stay.
 */
import type { Grid } from "../prompt.ts";
import type { VisionConfig } from "./config.ts";

/** `count` runs of `length` patches each, side by side; attention stays within a run. */
export interface Runs {
  readonly count: number;
  readonly length: number;
}

export interface WindowPlan {
  /** Where each unit of the window layout comes from: its index in picture order (frame, row, column). */
  readonly unitOrder: Int32Array; // [units]
  /** The inverse: where each unit of picture order lies in the window layout. */
  readonly unitPlaces: Int32Array; // [units]
  /** The windows, in the layout's order. Lengths are all different. */
  readonly windows: readonly Runs[];
  /** The frames, in picture order, equal neighbours joined. */
  readonly frames: readonly Runs[];
  /**
   * The units frame by frame, as places in the window layout. Within a frame they keep the layout's order, so that a
   * frame's attention runs in the same order whatever other frames are in the pass.
   */
  readonly frameOrder: Int32Array; // [units]
}

/** The visual tokens of a grid: its patches after merging. */
export const visualTokens = ({ t, h, w }: Grid, mergeSize: number): number => (t * h * w) / mergeSize ** 2;

export function planWindows(grids: readonly Grid[], config: VisionConfig): WindowPlan {
  const { spatialMergeSize: merge } = config;
  const side = Math.floor(config.windowSize / merge / config.patchSize); // units a window's side
  const windows = windowsOf(grids, merge, side).sort((a, b) => a.length - b.length); // stable: pictures keep their order
  const unitOrder = Int32Array.from(windows.flat());
  const frameLengths = grids.flatMap(({ t, h, w }) => new Array<number>(t).fill((h * w) / merge ** 2));
  return {
    unitOrder,
    unitPlaces: inverse(unitOrder),
    windows: joined(windows.map((window) => window.length * merge ** 2)),
    frames: joined(frameLengths.map((units) => units * merge ** 2)),
    frameOrder: Int32Array.from(placesByFrame(unitOrder, frameLengths).flat()),
  };
}

/** -> for each frame the places of its units in the window layout, ascending */
function placesByFrame(unitOrder: Int32Array, frameLengths: readonly number[]): number[][] {
  const frameOfUnit = frameLengths.flatMap((units, frame) => new Array<number>(units).fill(frame));
  const places: number[][] = frameLengths.map(() => []);
  for (const [place, unit] of unitOrder.entries()) places[frameOfUnit[unit] ?? 0]?.push(place);
  return places;
}

/** -> the units of every window in picture order; windows at the right and lower border are cut, never padded. */
function windowsOf(grids: readonly Grid[], merge: number, side: number): number[][] {
  const windows: number[][] = [];
  let first = 0; // of the frame
  for (const grid of grids) {
    const rows = grid.h / merge;
    const columns = grid.w / merge;
    for (let frame = 0; frame < grid.t; frame++) {
      for (let top = 0; top < rows; top += side) {
        for (let left = 0; left < columns; left += side) {
          const window: number[] = [];
          for (let row = top; row < Math.min(top + side, rows); row++) {
            for (let column = left; column < Math.min(left + side, columns); column++) {
              window.push(first + row * columns + column);
            }
          }
          windows.push(window);
        }
      }
      first += rows * columns;
    }
  }
  return windows;
}

/** Lengths of neighbouring runs -> equal neighbours as one entry. */
function joined(lengths: readonly number[]): Runs[] {
  const runs: { count: number; length: number }[] = [];
  for (const length of lengths) {
    const last = runs.at(-1);
    if (last?.length === length) last.count++;
    else runs.push({ count: 1, length });
  }
  return runs;
}

/** The permutation that undoes `order`. */
export function inverse(order: Int32Array): Int32Array {
  const places = new Int32Array(order.length);
  for (const [place, index] of order.entries()) places[index] = place;
  return places;
}
