/**
 * @file What the decoders of this folder have in common: formats of the plainest kind, which libvips does not read. Each
 * looks at a header without touching a pixel, and gives the samples that Pillow 11.3 gives.
 */

export interface PlainPicture {
  readonly width: number;
  readonly height: number;
  /** Throws `BrokenPicture` where the data is not all there. */
  decode(): Samples;
}

export interface Samples {
  readonly channels: 3 | 4; // RGB, or RGB with opacity
  readonly data: Uint8Array; // [height, width, channels]
}

/** Why a picture cannot be decoded, as the end of a sentence that begins with its name. */
export class BrokenPicture extends Error {}

/** `length` bytes from `start`. Throws `BrokenPicture` where they are not all there. */
export function bytesAt(bytes: Buffer, start: number, length: number): Buffer {
  if (start + length <= bytes.length) return bytes.subarray(start, start + length);
  throw new BrokenPicture(`it is cut short: ${start + length} bytes are needed, ${bytes.length} are there`);
}

/** A sample of five or six bits as a byte, as Pillow scales it. */
export const scaled = (value: number, most: number): number => Math.trunc((value * 255) / most);

export const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
