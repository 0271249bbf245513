/**
 * @file The part of a GIF's screen that its first frame leaves uncovered. libvips shows it black; Pillow shows the first
 * colour of the frame's palette there. (With a transparent colour both leave it transparent.)
 *
 * Layout: GIF89a specification, sections 18 (screen), 20 (frame) and 23 (graphic control).
 */

/** Paints the uncovered part of a decoded first frame. `rgb` is [height, width, 3], `bytes` the file it came from. */
export function paintGifMargin(rgb: Uint8Array, width: number, height: number, bytes: Uint8Array): void {
  const frame = firstFrame(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const right = frame.left + frame.width;
  const bottom = frame.top + frame.height;
  if (frame.left === 0 && frame.top === 0 && right >= width && bottom >= height) return;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const covered = x >= frame.left && x < right && y >= frame.top && y < bottom;
      if (!covered) rgb.set(frame.firstColour, (y * width + x) * 3);
    }
  }
}

interface Frame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly firstColour: Uint8Array; // [3]
}

/** Reads a file that libvips has decoded, so its blocks are whole. */
function firstFrame(bytes: Buffer): Frame {
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
    firstColour: palette.subarray(0, 3),
  };
}

/** Bytes of the palette that a packed field announces: a flag, and the power of two of its number of colours. */
function paletteLength(packed: number): number {
  return packed & 0x80 ? 3 * 2 ** ((packed & 7) + 1) : 0;
}
