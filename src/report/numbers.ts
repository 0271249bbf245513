/**
 * @file Numbers as people read them, in reports and cards.
 */

/** Three significant digits: "0.693", "12.5", "1.2e-5"; "not a number" for NaN. */
export function short(value: number): string {
  if (Number.isNaN(value)) return "not a number";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "-infinite";
  const rounded = Number(value.toPrecision(3));
  const size = Math.abs(rounded);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? rounded.toExponential() : String(rounded);
}

/** "1,234,567" */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}

/** "87.4%" */
export function percent(share: number): string {
  return Number.isNaN(share) ? "unknown" : `${(share * 100).toFixed(1)}%`;
}

/** "85.1% to 89.4%" */
export function percentRange([low, high]: readonly [number, number]): string {
  return `${percent(low)} to ${percent(high)}`;
}

/** "850 MB", "12.3 GB", in powers of ten. */
export function byteSize(bytes: number): string {
  return bytes < 999.5e6 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** "0.8 s", "45 s", "12 min", "3 h 5 min". */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
