/** @file Numbers of little precision as short decimals: 0.1 rather than 0.10000000149011612. */
import { fromFloat16, toFloat16 } from "../files/float16.ts";

/** The shortest decimal number that is the same float32. */
export const shortFloat = (value: number): number => shortest(value, Math.fround, 6, 9);

/** The shortest decimal number that is the same float16. */
export const shortFloat16 = (value: number): number => shortest(value, roundToFloat16, 1, 5);

/** The nearest float16. */
export const roundToFloat16 = (value: number): number => fromFloat16(toFloat16(value));

/** @param most digits, which name every number that `round` gives */
function shortest(value: number, round: (value: number) => number, fewest: number, most: number): number {
  for (let digits = fewest; digits <= most; digits++) {
    const short = Number(value.toPrecision(digits));
    if (round(short) === value) return short;
  }
  return value;
}
