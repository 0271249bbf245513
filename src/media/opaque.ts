/** @file Transparency laid on white, as qwen_vl_utils' `to_rgb` does with Pillow. */

/** RGB, RGBA or RGBA with further channels -> RGB, on white where it is transparent, with Pillow's rounding. */
export function toOpaque(samples: Uint8Array, channels: number, alpha: boolean): Uint8Array {
  if (channels === 3) return new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  const pixels = samples.length / channels;
  const rgb = new Uint8Array(pixels * 3);
  for (let pixel = 0, from = 0, to = 0; pixel < pixels; pixel++, from += channels, to += 3) {
    const opacity = alpha ? (samples[from + 3] ?? 255) : 255;
    for (let channel = 0; channel < 3; channel++) {
      const colour = samples[from + channel] ?? 0;
      rgb[to + channel] = divideBy255(colour * opacity + 255 * (255 - opacity));
    }
  }
  return rgb;
}

/** Pillow's rounded division of a product of two bytes. */
export function divideBy255(product: number): number {
  const biased = product + 128;
  return ((biased >> 8) + biased) >> 8;
}
