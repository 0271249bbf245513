/**
 * @file Targa pictures: colour, grey and palette, plain or in run lengths. Layout and choices are those of Pillow's
 * TgaImagePlugin; transparency of a palette or of grey counts, as in every other format (image.ts).
 */
import { BrokenPicture, bufferOf, bytesAt, type PlainPicture, type Samples, scaled } from "./plain-picture.ts";

interface Header {
  readonly kind: number; // 1 palette, 2 colour, 3 grey
  readonly runs: boolean;
  readonly bits: number;
  readonly width: number;
  readonly height: number;
  readonly fromRight: boolean;
  readonly fromTop: boolean;
  readonly paletteAt: number;
  readonly paletteFirst: number;
  readonly paletteCount: number;
  readonly paletteBits: number;
}

const headerLength = 18;
/** Kind and bits a pixel of what is decoded. */
const layouts = new Set(["1/8", "2/16", "2/24", "2/32", "3/8", "3/16"]);

/** The format has no signature: a file is one where its header makes sense as a whole. */
export function isTga(head: Uint8Array): boolean {
  if (head.length < headerLength) return false;
  const header = readHeader(bufferOf(head));
  const hasPalette = head[1] === 1;
  const sound = hasPalette ? [16, 24, 32].includes(header.paletteBits) && header.paletteCount > 0 : head[1] === 0;
  return (
    sound &&
    (header.kind === 1) === hasPalette &&
    ((head[2] ?? 0) & ~11) === 0 &&
    layouts.has(`${header.kind}/${header.bits}`) &&
    header.width > 0 &&
    header.height > 0 &&
    ((head[17] ?? 0) & 0xc0) === 0
  );
}

/** Throws `BrokenPicture`. */
export function openTga(file: Uint8Array): PlainPicture {
  const bytes = bufferOf(file);
  const header = readHeader(bytesAt(bytes, 0, headerLength));
  return { width: header.width, height: header.height, decode: () => decode(bytes, header) };
}

function readHeader(bytes: Buffer): Header {
  const flags = bytes.readUInt8(17);
  return {
    kind: bytes.readUInt8(2) & 7,
    runs: (bytes.readUInt8(2) & 8) !== 0,
    bits: bytes.readUInt8(16),
    width: bytes.readUInt16LE(12),
    height: bytes.readUInt16LE(14),
    fromRight: (flags & 0x10) !== 0,
    fromTop: (flags & 0x20) !== 0,
    paletteAt: headerLength + bytes.readUInt8(0),
    paletteFirst: bytes.readUInt16LE(3),
    paletteCount: bytes.readUInt8(1) === 1 ? bytes.readUInt16LE(5) : 0,
    paletteBits: bytes.readUInt8(7),
  };
}

function decode(bytes: Buffer, header: Header): Samples {
  const { kind, bits, width, height, paletteAt, paletteCount, paletteBits } = header;
  const dataAt = paletteAt + paletteCount * (paletteBits >> 3);
  const size = bits >> 3;
  const pixels = header.runs
    ? unrolled(bytes, dataAt, size, width * height)
    : bytesAt(bytes, dataAt, width * height * size);
  const palette = kind === 1 ? readPalette(bytes, header) : new Uint8Array();
  const data = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y++) {
    const row = (header.fromTop ? y : height - 1 - y) * width;
    for (let x = 0; x < width; x++) {
      const from = (row + (header.fromRight ? width - 1 - x : x)) * size;
      const to = (y * width + x) * 4;
      if (kind === 1) data.set(palette.subarray(4 * (pixels[from] ?? 0), 4 * (pixels[from] ?? 0) + 4), to);
      else if (kind === 2) putColour(pixels, from, bits, data, to);
      else putGrey(pixels, from, size, data, to);
    }
  }
  return { channels: 4, data };
}

/** Packets of a count and either one pixel to repeat or as many as it counts. A packet may go over the end of a row. */
function unrolled(bytes: Buffer, start: number, size: number, pixels: number): Buffer {
  const data = Buffer.alloc(pixels * size);
  let at = start;
  for (let to = 0; to < data.length; ) {
    const [packet = 0] = bytesAt(bytes, at, 1);
    const length = ((packet & 0x7f) + 1) * size;
    const repeated = (packet & 0x80) !== 0;
    const content = bytesAt(bytes, at + 1, repeated ? size : length);
    at += 1 + content.length;
    if (to + length > data.length) throw new BrokenPicture("its run lengths go on behind its last pixel");
    if (repeated) data.fill(content, to, to + length);
    else content.copy(data, to);
    to += length;
  }
  return data;
}

/** [256, 4]; entries that the file does not have are black, as in Pillow. */
function readPalette(bytes: Buffer, { paletteAt, paletteFirst, paletteCount, paletteBits }: Header): Uint8Array {
  const palette = new Uint8Array(1024).map((_, index) => (index % 4 === 3 ? 255 : 0));
  const size = paletteBits >> 3;
  const entries = bytesAt(bytes, paletteAt, paletteCount * size);
  for (let index = 0; index < Math.min(256 - paletteFirst, paletteCount); index++) {
    putColour(entries, index * size, paletteBits, palette, (paletteFirst + index) * 4);
  }
  return palette;
}

/** Blue, green, red and opacity, or five bits of each and a bit that is set where nothing is seen. */
function putColour(from: Buffer, at: number, bits: number, to: Uint8Array, place: number): void {
  if (bits === 16) {
    const value = from.readUInt16LE(at);
    for (const [channel, shift] of [10, 5, 0].entries()) to[place + channel] = scaled((value >> shift) & 31, 31);
    to[place + 3] = value >> 15 === 1 ? 0 : 255;
    return;
  }
  for (let channel = 0; channel < 3; channel++) to[place + channel] = from[at + 2 - channel] ?? 0;
  to[place + 3] = bits === 32 ? (from[at + 3] ?? 0) : 255;
}

function putGrey(from: Buffer, at: number, size: number, to: Uint8Array, place: number): void {
  to.fill(from[at] ?? 0, place, place + 3);
  to[place + 3] = size === 2 ? (from[at + 1] ?? 0) : 255;
}
