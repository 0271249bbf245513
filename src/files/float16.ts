/** @file float16 (IEEE 754's binary16) as its bits, which Node 20 has no typed array for. */

/** The nearest float16's bits, of two that are as near the even one's; from 65,520 on that is infinity. */
export function toFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 2 ** 16) return sign | 0x7c00;
  const exponent = Math.max(-14, exponentOf(magnitude)); // below 2^-14 all float16 are as far apart as just above it
  const steps = roundedToEven(magnitude / 2 ** (exponent - 10)); // 2^10 of them from one power of two to the next
  return sign | ((exponent + 14) * 2 ** 10 + steps); // the step that reaches the next power of two carries into the exponent
}

/** The number that these bits are. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (2 ** 10 + fraction) * 2 ** (exponent - 25);
}

const double = new DataView(new ArrayBuffer(8));

/** The power of two at or below a positive number; -1023 for 0 and all below 2^-1022. */
function exponentOf(magnitude: number): number {
  double.setFloat64(0, magnitude);
  return (double.getUint16(0) >> 4) - 1023;
}

/** Of numbers from 0 to 2^51: float64 has no fractions from 2^52 on, and its sums are rounded to even. */
const roundedToEven = (value: number): number => value + 2 ** 52 - 2 ** 52;
