/**
 * @file Windows bitmaps: 1 to 32 bits a pixel, palettes, run lengths and bit fields. Layout and choices are those of
 * Pillow's BmpImagePlugin.
 */
import { BrokenPicture, bufferOf, bytesAt, type PlainPicture, type Samples, scaled } from "./plain-picture.ts";

const headerSizes = [12, 40, 52, 56, 64, 108, 124];
const compressions = { none: 0, rle8: 1, rle4: 2, bitFields: 3 } as const;

interface Header {
  readonly width: number;
  readonly height: number;
  readonly topDown: boolean;
  readonly bits: number;
  readonly compression: number;
  readonly colours: number;
  readonly colourLength: number; // bytes of an entry of the palette
  readonly paletteAt: number;
  readonly dataAt: number;
  readonly masks: readonly number[]; // of red, green, blue, opacity
}

/** Whether a file begins as a bitmap does; "BM" alone is the beginning of many a text. */
export function isBmp(head: Uint8Array): boolean {
  const bytes = bufferOf(head);
  return bytes.toString("latin1", 0, 2) === "BM" && bytes.length >= 18 && headerSizes.includes(bytes.readUInt32LE(14));
}

/** Throws `BrokenPicture`. */
export function openBmp(file: Uint8Array): PlainPicture {
  const bytes = bufferOf(file);
  const header = readHeader(bytes);
  return { width: header.width, height: header.height, decode: () => decode(bytes, header) };
}

function readHeader(bytes: Buffer): Header {
  const size = bytesAt(bytes, 0, 18).readUInt32LE(14);
  if (!headerSizes.includes(size)) throw new BrokenPicture(`its header has ${size} bytes, which no kind of BMP has`);
  const info = bytesAt(bytes, 14, size);
  const old = size === 12; // OS/2's
  const topDown = !old && info[11] === 0xff;
  const height = old ? info.readUInt16LE(6) : topDown ? -info.readInt32LE(8) : info.readUInt32LE(8);
  const bits = info.readUInt16LE(old ? 10 : 14);
  const compression = old ? compressions.none : info.readUInt32LE(16);
  const colours = (old ? 0 : info.readUInt32LE(32)) || 2 ** bits;
  const ownMasks = compression === compressions.bitFields && size < 52;
  const masks = compression === compressions.bitFields ? readMasks(bytes, size) : [];
  const dataAt = bytes.readUInt32LE(10);
  const paletteAt = 14 + size + (ownMasks ? 12 : 0);
  const width = old ? info.readUInt16LE(4) : info.readUInt32LE(4);
  if (width === 0 || height === 0) throw new BrokenPicture(`its header says ${width} x ${height} pixels`);
  return {
    width,
    height,
    topDown,
    bits,
    compression,
    colours,
    colourLength: old ? 3 : 4,
    paletteAt,
    // Some writers count the palette out of the offset.
    dataAt: dataAt === 14 + size && bits <= 8 ? dataAt + 4 * colours : dataAt,
    masks,
  };
}

/** Behind a header of the oldest kind three masks stand by themselves. */
function readMasks(bytes: Buffer, size: number): number[] {
  const count = size >= 56 ? 4 : 3;
  const masks = bytesAt(bytes, 54, 4 * count);
  return Array.from({ length: 4 }, (_, index) => (index < count ? masks.readUInt32LE(4 * index) : 0));
}

function decode(bytes: Buffer, header: Header): Samples {
  const { bits, compression, width, height } = header;
  if (bits === 1 || bits === 4 || bits === 8) {
    const palette = readPalette(bytes, header);
    const runs = compression === compressions.rle8 || compression === compressions.rle4;
    if (!runs && compression !== compressions.none) throw unusual(header);
    return paint(runs ? runLengths(bytes, header) : packedIndices(bytes, header), palette, header);
  }
  if (compression !== compressions.none && compression !== compressions.bitFields) throw unusual(header);
  const layout = layoutOf(header);
  const stride = strideOf(header);
  const rows = bytesAt(bytes, header.dataAt, stride * height);
  const data = new Uint8Array(width * height * layout.channels);
  for (let y = 0; y < height; y++) {
    const row = (header.topDown ? y : height - 1 - y) * stride;
    for (let x = 0; x < width; x++) layout.read(rows, row + (x * bits) / 8, data, (y * width + x) * layout.channels);
  }
  return { channels: layout.channels, data };
}

/** How a pixel of 16, 24 or 32 bits is read. */
interface Layout {
  readonly channels: 3 | 4;
  read(rows: Buffer, at: number, to: Uint8Array, place: number): void;
}

function layoutOf(header: Header): Layout {
  const { bits, masks } = header;
  const fields = masks.map((mask) => mask.toString(16)).join(" ");
  if (bits === 16) {
    if (!["", "7c00 3e0 1f 0", "f800 7e0 1f 0"].includes(fields)) throw unusual(header);
    const green = fields.startsWith("f800") ? 63 : 31; // the most that it can be
    return {
      channels: 3,
      read: (rows, at, to, place) => {
        const value = rows.readUInt16LE(at);
        to[place] = scaled((value >> (green === 63 ? 11 : 10)) & 31, 31);
        to[place + 1] = scaled((value >> 5) & green, green);
        to[place + 2] = scaled(value & 31, 31);
      },
    };
  }
  if (bits !== 24 && bits !== 32) throw unusual(header);
  const places = bytePlaces(fields, bits);
  if (places === undefined) throw unusual(header);
  return {
    channels: places.length === 4 ? 4 : 3,
    read: (rows, at, to, place) => {
      for (const [channel, offset] of places.entries()) to[place + channel] = rows[at + offset] ?? 0;
    },
  };
}

/** Where in a pixel its channels lie, in bytes; undefined for masks that are not whole bytes. */
function bytePlaces(fields: string, bits: 24 | 32): readonly number[] | undefined {
  if (fields === "") return [2, 1, 0];
  if (bits === 32 && fields === "0 0 0 0") return [2, 1, 0, 3];
  const offsets = new Map([
    ["ff", 0],
    ["ff00", 1],
    ["ff0000", 2],
    ["ff000000", 3],
  ]);
  const places = fields.split(" ").flatMap((mask) => (mask === "0" ? [] : (offsets.get(mask) ?? -1)));
  return places.length >= 3 && places.every((place) => place >= 0 && place < bits / 8) ? places : undefined;
}

const strideOf = ({ width, bits }: Header): number => Math.ceil((width * bits) / 32) * 4;

/** [256, 3]; entries that the file does not have are black, as in Pillow. */
function readPalette(bytes: Buffer, { colours, colourLength, paletteAt }: Header): Uint8Array {
  const palette = new Uint8Array(768);
  const count = Math.min(colours, 256);
  const entries = bytesAt(bytes, paletteAt, count * colourLength);
  for (let index = 0; index < count; index++) {
    for (let channel = 0; channel < 3; channel++) {
      palette[3 * index + channel] = entries[index * colourLength + 2 - channel] ?? 0;
    }
  }
  return palette;
}

/** [height, width] in the order of the file. */
function packedIndices(bytes: Buffer, header: Header): Uint8Array {
  const { width, height, bits } = header;
  const stride = strideOf(header);
  const rows = bytesAt(bytes, header.dataAt, stride * height);
  const indices = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const byte = rows[y * stride + ((x * bits) >> 3)] ?? 0;
      indices[y * width + x] = (byte >> (8 - bits - ((x * bits) & 7))) & (2 ** bits - 1);
    }
  }
  return indices;
}

/** The same of run lengths: pairs of a count and a value; a count of 0 is a word of command. */
function runLengths(bytes: Buffer, { width, height, dataAt, compression }: Header): Uint8Array {
  const indices = new Uint8Array(width * height);
  const nibbles = compression === compressions.rle4;
  let at = dataAt;
  let to = 0;
  const put = (value: number): void => {
    if (to < indices.length) indices[to++] = value;
  };
  while (to < indices.length) {
    const [count = 0, value = 0] = bytesAt(bytes, at, 2);
    at += 2;
    if (count > 0) {
      const run = Math.min(count, width - (to % width));
      for (let index = 0; index < run; index++) put(nibbles ? (index % 2 === 0 ? value >> 4 : value & 15) : value);
    } else if (value === 0) to = Math.ceil(to / width) * width;
    else if (value === 1) throw new BrokenPicture("its data ends before its last row");
    else if (value === 2) {
      const [right = 0, up = 0] = bytesAt(bytes, at, 2);
      at += 2;
      to += right + up * width;
    } else {
      const packed = bytesAt(bytes, at, nibbles ? value >> 1 : value);
      for (const byte of packed) {
        if (nibbles) put(byte >> 4);
        put(nibbles ? byte & 15 : byte);
      }
      at += packed.length + ((at + packed.length) & 1); // to a word
    }
  }
  return indices;
}

function paint(indices: Uint8Array, palette: Uint8Array, { width, height, topDown }: Header): Samples {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const row = (topDown ? y : height - 1 - y) * width;
    for (let x = 0; x < width; x++) {
      const entry = 3 * (indices[row + x] ?? 0);
      data.set(palette.subarray(entry, entry + 3), (y * width + x) * 3);
    }
  }
  return { channels: 3, data };
}

function unusual({ bits, compression, masks }: Header): BrokenPicture {
  const fields = masks.length > 0 ? `, bit fields ${masks.map((mask) => mask.toString(16)).join(" ")}` : "";
  return new BrokenPicture(`${bits} bits a pixel with compression ${compression}${fields} are not supported`);
}
