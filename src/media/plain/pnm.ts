/**
 * @file PBM, PGM and PPM (netpbm), as numbers in text or as bytes. Scaling is that of Pillow's PpmImagePlugin; of grey
 * samples of more than 8 bits the high byte counts, as in every other format (image.ts).
 */
import { BrokenPicture, bufferOf, bytesAt, type PlainPicture, type Samples } from "./plain-picture.ts";

interface Header {
  readonly kind: number; // the digit behind P: 1 to 3 are text, 4 to 6 bytes; 1 and 4 bits, 2 and 5 grey, 3 and 6 colour
  readonly width: number;
  readonly height: number;
  readonly most: number; // the value of white
  readonly dataAt: number;
}

export const isPnm = (head: Uint8Array): boolean => /^P[1-6][\s#]/.test(bufferOf(head).toString("latin1", 0, 3));

/** Throws `BrokenPicture`. */
export function openPnm(file: Uint8Array): PlainPicture {
  const bytes = bufferOf(file);
  const header = readHeader(bytes);
  return { width: header.width, height: header.height, decode: () => decode(bytes, header) };
}

function readHeader(bytes: Buffer): Header {
  const kind = (bytes[1] ?? 0) - 0x30;
  const tokens = new Tokens(bytes, 2);
  const width = tokens.next();
  const height = tokens.next();
  const most = kind === 1 || kind === 4 ? 1 : tokens.next();
  if (!(width > 0 && height > 0 && most > 0 && most < 65536)) {
    throw new BrokenPicture(`its header says ${width} x ${height} pixels of up to ${most}`);
  }
  return { kind, width, height, most, dataAt: tokens.at + 1 };
}

function decode(bytes: Buffer, header: Header): Samples {
  const { kind, width, height, most } = header;
  const channels = kind === 3 || kind === 6 ? 3 : 1;
  const wide = most > 255 && channels === 1; // Pillow keeps 16 bits of grey, and so the high byte is ours to take
  const byteOf = (value: number): number => {
    if (value > most && kind <= 3) throw new BrokenPicture(`it has a sample of ${value}, and white is ${most}`);
    const full = wide ? 65535 : 255;
    const scaled = Math.min(full, pythonRound((value / most) * full));
    return wide ? scaled >> 8 : scaled;
  };
  const next = kind <= 3 ? textSamples(bytes, header) : byteSamples(bytes, header, channels);
  const invert = kind === 1 || kind === 4; // in bitmaps 1 is black
  const data = new Uint8Array(width * height * 3);
  const table =
    most < 256 ? Uint8Array.from({ length: 256 }, (_, value) => (value > most ? 255 : byteOf(value))) : undefined;
  for (let to = 0; to < data.length; to += 3 / channels) {
    const value = next();
    const sample = invert ? 255 * (1 - value) : value <= most && table ? (table[value] ?? 0) : byteOf(value);
    data.fill(sample, to, to + 3 / channels);
  }
  return { channels: 3, data };
}

/** A half goes to the even neighbour. */
function pythonRound(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below & 1) : Math.round(value);
}

/** Samples as decimal numbers; those of a bitmap need no space between them. */
function textSamples(bytes: Buffer, { kind, dataAt }: Header): () => number {
  const tokens = new Tokens(bytes, dataAt - 1);
  return kind === 1 ? () => tokens.nextBit() : () => tokens.next();
}

function byteSamples(bytes: Buffer, header: Header, channels: number): () => number {
  const { kind, width, height, most, dataAt } = header;
  if (kind === 4) {
    const stride = Math.ceil(width / 8);
    const rows = bytesAt(bytes, dataAt, stride * height);
    let at = 0;
    return () => {
      const [y, x] = [Math.trunc(at / width), at % width];
      at++;
      return ((rows[y * stride + (x >> 3)] ?? 0) >> (7 - (x & 7))) & 1;
    };
  }
  const size = most > 255 ? 2 : 1;
  const samples = bytesAt(bytes, dataAt, width * height * channels * size);
  let at = 0;
  return () => {
    const value = size === 2 ? samples.readUInt16BE(at) : (samples[at] ?? 0);
    at += size;
    return value;
  };
}

/** Numbers between white space and comments, which reach from # to the end of a line. */
class Tokens {
  at: number;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  next(): number {
    let value = this.#digit(this.#skip());
    for (let digits = 1; digits <= 10; digits++) {
      const code = this.#bytes[this.at];
      if (code === undefined || code < 0x30 || code > 0x39) return value;
      value = value * 10 + this.#digit(this.at);
    }
    throw new BrokenPicture("it has a number of more than ten digits");
  }

  nextBit(): number {
    const bit = this.#digit(this.#skip());
    if (bit <= 1) return bit;
    throw new BrokenPicture(`it has a bit of ${bit}`);
  }

  #digit(at: number): number {
    const code = this.#bytes[at];
    if (code === undefined) throw new BrokenPicture("it is cut short: a number is missing");
    if (code < 0x30 || code > 0x39) throw new BrokenPicture(`it has the byte ${code} where a number is expected`);
    this.at = at + 1;
    return code - 0x30;
  }

  /** The place of the next byte that is neither white space nor in a comment. */
  #skip(): number {
    let at = this.at;
    for (let comment = false; ; at++) {
      const code = this.#bytes[at];
      if (code === undefined) return at;
      if (comment) comment = code !== 0x0a && code !== 0x0d;
      else if (code === 0x23) comment = true;
      else if (code !== 0x20 && !(code >= 0x09 && code <= 0x0d)) return at;
    }
  }
}
