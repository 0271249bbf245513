/**
 * @file The part of an animation's screen that its first frame leaves uncovered. Pillow shows there the first colour of the
 * frame's palette (GIF) or black (WebP without transparency); libvips shows black and white. With a transparent colour
 * both leave it transparent.
 *
 * Layout: GIF89a specification, sections 18 (screen), 20 (frame) and 23 (graphic control); RFC 9649, section 2.7.
 */
import type { CodedFormat } from "./image-format.ts";

/** Paints the uncovered part of a decoded first frame. `rgb` is [height, width, 3], `bytes` the file it came from. */
export function paintMargin(
  rgb: Uint8Array,
  width: number,
  height: number,
  bytes: Uint8Array,
  format: CodedFormat,
): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frame = format === "GIF" ? gifFrame(buffer) : format === "WebP" ? webpFrame(buffer) : undefined;
  if (frame === undefined) return;
  const right = frame.left + frame.width;
  const bottom = frame.top + frame.height;
  if (frame.left === 0 && frame.top === 0 && right >= width && bottom >= height) return;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const covered = x >= frame.left && x < right && y >= frame.top && y < bottom;
      if (!covered) rgb.set(frame.margin, (y * width + x) * 3);
    }
  }
}

/** A first frame's place on the screen; both files were decoded by libvips, so that their blocks are whole. */
interface Frame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly margin: Uint8Array; // [3]
}

function gifFrame(bytes: Buffer): Frame {
  let at = 13 + paletteLength(bytes.readUInt8(10));
  const globalPalette = bytes.subarray(13, at);
  while (bytes[at] === 0x21) {
    at += 2; // an extension's introducer and label, then its sub-blocks
    while (bytes.readUInt8(at) > 0) at += bytes.readUInt8(at) + 1;
    at += 1;
  }
  const localPalette = bytes.subarray(at + 10, at + 10 + paletteLength(bytes.readUInt8(at + 9)));
  const palette = localPalette.length > 0 ? localPalette : globalPalette;
  return {
    left: bytes.readUInt16LE(at + 1),
    top: bytes.readUInt16LE(at + 3),
    width: bytes.readUInt16LE(at + 5),
    height: bytes.readUInt16LE(at + 7),
    margin: palette.subarray(0, 3),
  };
}

/** Bytes of the palette that a packed field announces: a flag, and the power of two of its number of colours. */
function paletteLength(packed: number): number {
  return packed & 0x80 ? 3 * 2 ** ((packed & 7) + 1) : 0;
}

/** Undefined for a file of one picture. */
function webpFrame(bytes: Buffer): Frame | undefined {
  let at = 12;
  while (at + 24 <= bytes.length && bytes.toString("latin1", at, at + 4) !== "ANMF") {
    const length = bytes.readUInt32LE(at + 4);
    at += 8 + length + (length & 1);
  }
  if (at + 24 > bytes.length) return undefined;
  return {
    left: 2 * bytes.readUIntLE(at + 8, 3),
    top: 2 * bytes.readUIntLE(at + 11, 3),
    width: bytes.readUIntLE(at + 14, 3) + 1,
    height: bytes.readUIntLE(at + 17, 3) + 1,
    margin: new Uint8Array(3),
  };
}
