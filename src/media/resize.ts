/**
 * @file Pillow's `Image.resize(size, BICUBIC)` for 8-bit RGB, equal in every bit.
 *
 * Pillow (Resample.c) resamples along the rows, rounds to bytes, then along the columns; the kernel widens when a side
 * shrinks (antialiasing); weights are fixed-point numbers. torch's antialiased bicubic rounds its weights otherwise:
 * that one is right for decoded video files, this one for pictures and lists of frames.
 */
import type { RgbImage } from "./image.ts";

/** Bits behind the point of a weight: 32, less 8 for the sample and 2 for sums that overshoot. */
const precisionBits = 22;
const one = 2 ** precisionBits;
const half = 2 ** (precisionBits - 1);

/** Bicubic reaches two samples to either side. */
const kernelRadius = 2;

/** Resizes to `width` x `height`, both at least 1. The same image, not a copy, when it has that size already. */
export function resizeBicubic(image: RgbImage, width: number, height: number): RgbImage {
  const rows = height === image.height ? undefined : axisWeights(image.height, height);
  const wide = width === image.width ? image : resizeRows(image, width, rows);
  return rows === undefined ? wide : resizeColumns(wide, height, rows);
}

/** For each output sample of one axis: where its inputs begin, how many they are, and their weights. */
interface AxisWeights {
  readonly start: Int32Array; // [size]
  readonly count: Int32Array; // [size]
  readonly weights: Int32Array; // [size, taps], fixed point
  readonly taps: number;
}

function axisWeights(inputSize: number, size: number): AxisWeights {
  const scale = inputSize / size;
  const stretch = Math.max(scale, 1);
  const radius = kernelRadius * stretch;
  const taps = Math.ceil(radius) * 2 + 1;
  const start = new Int32Array(size);
  const count = new Int32Array(size);
  const weights = new Int32Array(size * taps);
  const exact = new Float64Array(taps);
  for (let index = 0; index < size; index++) {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - radius + 0.5));
    const inputs = Math.min(inputSize, Math.trunc(center + radius + 0.5)) - first;
    let sum = 0;
    for (let tap = 0; tap < inputs; tap++) {
      // The reciprocal is multiplied with, as in Pillow: a division can differ in the last bit.
      const weight = bicubic((tap + first - center + 0.5) * (1 / stretch));
      exact[tap] = weight;
      sum += weight;
    }
    for (let tap = 0; tap < inputs; tap++) {
      weights[index * taps + tap] = roundAwayFromZero(((exact[tap] ?? 0) / sum) * one);
    }
    start[index] = first;
    count[index] = inputs;
  }
  return { start, count, weights, taps };
}

/** Keys' cubic convolution kernel with a = -0.5, in Pillow's order of operations. */
function bicubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

function roundAwayFromZero(value: number): number {
  return Math.trunc(value < 0 ? value - 0.5 : value + 0.5);
}

/** Along the rows, of which those that no output row will read are skipped (they stay black). */
function resizeRows(image: RgbImage, width: number, rows: AxisWeights | undefined): RgbImage {
  const { start, count, weights, taps } = axisWeights(image.width, width);
  const source = image.data;
  const data = new Uint8ClampedArray(image.height * width * 3);
  const lastRow = rows === undefined ? image.height : (rows.start.at(-1) ?? 0) + (rows.count.at(-1) ?? 0);
  for (let row = rows?.start[0] ?? 0; row < lastRow; row++) {
    for (let column = 0; column < width; column++) {
      let red = half;
      let green = half;
      let blue = half;
      let from = (row * image.width + (start[column] ?? 0)) * 3;
      const firstWeight = column * taps;
      const end = firstWeight + (count[column] ?? 0);
      for (let at = firstWeight; at < end; at++, from += 3) {
        const weight = weights[at] ?? 0;
        red += (source[from] ?? 0) * weight;
        green += (source[from + 1] ?? 0) * weight;
        blue += (source[from + 2] ?? 0) * weight;
      }
      const to = (row * width + column) * 3;
      data[to] = red >> precisionBits;
      data[to + 1] = green >> precisionBits;
      data[to + 2] = blue >> precisionBits;
    }
  }
  return { width, height: image.height, data: new Uint8Array(data.buffer) };
}

/** Along the columns: whole rows are weighted and summed, which reads memory in order. */
function resizeColumns(image: RgbImage, height: number, { start, count, weights, taps }: AxisWeights): RgbImage {
  const rowLength = image.width * 3;
  const source = image.data;
  const data = new Uint8ClampedArray(height * rowLength);
  const sums = new Int32Array(rowLength);
  for (let row = 0; row < height; row++) {
    sums.fill(half);
    for (let tap = 0; tap < (count[row] ?? 0); tap++) {
      const weight = weights[row * taps + tap] ?? 0;
      const from = ((start[row] ?? 0) + tap) * rowLength;
      for (let at = 0; at < rowLength; at++) sums[at] = (sums[at] ?? 0) + (source[from + at] ?? 0) * weight;
    }
    const to = row * rowLength;
    for (let at = 0; at < rowLength; at++) data[to + at] = (sums[at] ?? 0) >> precisionBits;
  }
  return { width: image.width, height, data: new Uint8Array(data.buffer) };
}
