/** @file Numbers for people. */

/** With its sign, a real minus, and two places. */
export const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
