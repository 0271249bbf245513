/**
 * @file Positions for multimodal rotary embeddings (Qwen2.5-VL, arXiv 2502.13923, section 2.1.2), as transformers 4.51.3
 * computes them: text counts up in time, height and width alike; a picture keeps one time and spreads over height and
 * width; a video's time follows its seconds; what comes after starts behind the largest position so far.
 */
import type { Grid } from "../prompt.ts";

/** A picture or video among the tokens. */
export interface VisualSpan {
  /** Index of its first token in the sequence. */
  readonly start: number;
  readonly grid: Grid; // in patches
  /** Seconds between two temporal patches; 0 for a picture. */
  readonly secondsPerGrid: number;
}

/**
 * -> [3, tokens], row-major: time, height and width of every token.
 *
 * @param tokens the sequence's length, visual tokens included
 */
export function ropeIndex(
  tokens: number,
  spans: readonly VisualSpan[],
  config: { spatialMergeSize: number; tokensPerSecond: number },
): Int32Array {
  const positions = new Int32Array(3 * tokens);
  let token = 0;
  let next = 0; // position
  const place = (time: number, height: number, width: number): void => {
    positions[token] = time;
    positions[tokens + token] = height;
    positions[2 * tokens + token] = width;
    token++;
  };
  const text = (until: number): void => {
    while (token < until) {
      place(next, next, next);
      next++;
    }
  };
  for (const { start, grid, secondsPerGrid } of spans) {
    text(start);
    const rows = grid.h / config.spatialMergeSize;
    const columns = grid.w / config.spatialMergeSize;
    let largest = 0;
    for (let t = 0; t < grid.t; t++) {
      // The reference multiplies in float32, one factor after the other, and cuts off.
      const seconds = Math.fround(t * Math.fround(secondsPerGrid));
      const time = Math.trunc(Math.fround(seconds * config.tokensPerSecond));
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) place(next + time, next + row, next + column);
      }
      largest = Math.max(time, rows - 1, columns - 1); // time never falls
    }
    next += largest + 1;
  }
  text(tokens);
  return positions;
}
