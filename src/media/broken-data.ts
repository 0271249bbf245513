/**
 * @file What is wrong with a picture that does not decode, found in its own bytes.
 *
 * libvips keeps one text of errors for the whole process: what it says of one picture may be about another that fails at
 * the same time on another thread, and differs from run to run. So its words are never shown.
 */
import { crc32, inflateSync } from "node:zlib";
import type { CodedFormat } from "./image-format.ts";
import { pngChunks } from "./png-chunks.ts";
import { firstTagValue, tiffTags } from "./tiff-tags.ts";

/** Where structure shows no fault. */
const undecodable = "its data cannot be decoded";

/** Why a picture that libvips refuses cannot be decoded, as the end of a sentence that begins with its name. */
export function faultIn(file: Uint8Array, format: CodedFormat): string {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  try {
    return faultFinders[format](bytes) ?? undecodable;
  } catch (error) {
    if (error instanceof RangeError) return cutShort(bytes); // a structure reaches beyond the last byte
    throw error;
  }
}

const faultFinders: Readonly<Record<CodedFormat, (bytes: Buffer) => string | undefined>> = {
  PNG: faultInPng,
  JPEG: faultInJpeg,
  GIF: faultInGif,
  WebP: faultInWebp,
  TIFF: faultInTiff,
  AVIF: faultInAvif,
};

const cutShort = (bytes: Buffer, where = ""): string => `it is cut short${where}, after ${bytes.length} bytes`;

function faultInPng(bytes: Buffer): string | undefined {
  const data: Buffer[] = [];
  let last = "";
  for (const chunk of pngChunks(bytes)) {
    const { type } = chunk;
    if (!/^[A-Za-z]{4}$/.test(type)) return `at byte ${chunk.at} there is no chunk`;
    if (last === "" && (type !== "IHDR" || chunk.length !== 13)) return "it does not begin with its header";
    if (chunk.checksum === undefined) return cutShort(bytes, ` within a chunk ${type}`);
    if (chunk.checksum !== crc32(chunk.data, crc32(type))) return `the checksum of a chunk ${type} is wrong`;
    if (type === "IDAT") data.push(chunk.data);
    last = type;
  }
  if (last !== "IEND") return cutShort(bytes);
  if (data.length === 0) return "it has no picture data";
  return faultInDeflated(Buffer.concat(data));
}

/** As much as is undone to find a fault: what lies behind is called undecodable. */
const mostInflated = 2 ** 26;

function faultInDeflated(data: Buffer): string | undefined {
  try {
    inflateSync(data, { maxOutputLength: mostInflated });
    return undefined;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code === "Z_BUF_ERROR") return "its compressed data ends too early";
    return code === "ERR_BUFFER_TOO_LARGE" ? undefined : "its compressed data is broken";
  }
}

function faultInJpeg(bytes: Buffer): string | undefined {
  let frames = 0;
  let scans = 0;
  for (let at = 2; ; ) {
    const marker = bytes.indexOf(0xff, at);
    if (marker === -1 || marker + 1 >= bytes.length) {
      return cutShort(bytes, scans > 0 ? " before its end mark" : " within its header");
    }
    const code = bytes.readUInt8(marker + 1);
    at = marker + 2;
    if (code === 0xff) at = marker + 1;
    if (code === 0 || code === 1 || code === 0xff || (code >= 0xd0 && code <= 0xd8)) continue; // data and restarts
    if (code === 0xd9) break;
    const length = bytes.readUInt16BE(at);
    if (length < 2) return `a segment of its header is ${length} bytes long`;
    if (at + length > bytes.length) return cutShort(bytes, " within its header");
    if (code >= 0xc0 && code <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(code)) frames++;
    if (code === 0xda) scans++;
    at += length;
  }
  if (frames === 0) return "it has no frame header";
  return scans === 0 ? "it has no picture data" : undefined;
}

function faultInGif(bytes: Buffer): string | undefined {
  const paletteLength = (packed: number): number => (packed & 0x80 ? 3 * 2 ** ((packed & 7) + 1) : 0);
  let at = 13 + paletteLength(bytes.readUInt8(10));
  const skipBlocks = (): void => {
    while (bytes.readUInt8(at) > 0) at += bytes.readUInt8(at) + 1;
    at += 1;
  };
  for (;;) {
    const block = bytes.readUInt8(at);
    if (block === 0x3b) return "it has no picture";
    if (block === 0x21) {
      at += 2;
      skipBlocks();
    } else if (block === 0x2c) {
      at += 10 + paletteLength(bytes.readUInt8(at + 9)) + 1;
      skipBlocks();
      return "its compressed data is broken"; // the first picture is all there
    } else return `at byte ${at} there is no block`;
  }
}

function faultInWebp(bytes: Buffer): string | undefined {
  const end = bytes.readUInt32LE(4) + 8;
  if (end > bytes.length) return `${cutShort(bytes)} of ${end}`;
  for (let at = 12; at < end; at += 8 + bytes.readUInt32LE(at + 4) + (bytes.readUInt32LE(at + 4) & 1)) {
    const type = bytes.toString("latin1", at, at + 4);
    if (!/^[A-Z0-9 ]{4}$/.test(type)) return `at byte ${at} there is no chunk`;
    if (at + 8 + bytes.readUInt32LE(at + 4) > end) return `a chunk ${type.trim()} reaches beyond its end`;
  }
  return undefined;
}

function faultInTiff(bytes: Buffer): string | undefined {
  const little = bytes.toString("latin1", 0, 2) === "II";
  const big = bytes.readUInt8(little ? 2 : 3) === 43;
  const directory = big ? 0 : little ? bytes.readUInt32LE(4) : bytes.readUInt32BE(4);
  if (directory + 2 > bytes.length) return cutShort(bytes, " before its directory");
  if (firstTagValue(bytes, tiffTags.width) === undefined) return "its first directory gives no size";
  const compression = firstTagValue(bytes, tiffTags.compression) ?? 1;
  if (![1, 2, 3, 4, 5, 7, 8, 32773, 32946, 50000].includes(compression)) {
    return `its compression ${compression} is not supported`;
  }
  const start = firstTagValue(bytes, tiffTags.stripOffsets) ?? firstTagValue(bytes, tiffTags.tileOffsets);
  if (start === undefined) return "it does not say where its data lies";
  const length = firstTagValue(bytes, tiffTags.stripLengths) ?? firstTagValue(bytes, tiffTags.tileLengths) ?? 1;
  return start + length > bytes.length ? cutShort(bytes) : undefined;
}

/** Boxes of a length and a type; a length of 0 means up to the end, 1 that the length follows in eight bytes. */
function faultInAvif(bytes: Buffer): string | undefined {
  for (let at = 0; at < bytes.length; ) {
    const short = bytes.readUInt32BE(at);
    const length = short === 1 ? Number(bytes.readBigUInt64BE(at + 8)) : short === 0 ? bytes.length - at : short;
    if (length < 8) return `at byte ${at} there is no box`;
    if (at + length > bytes.length) return cutShort(bytes, ` within a box ${bytes.toString("latin1", at + 4, at + 8)}`);
    at += length;
  }
  return undefined;
}
