/**
 * @file The chunks of a PNG, in order, and what they say of its orientation. libvips stops reading where the picture's data
 * begins; EXIF blocks, XMP packets and texts may stand behind it.
 *
 * Layout: PNG specification, third edition, sections 5 (chunks) and 11.3.3 (texts).
 */
import { inflateSync } from "node:zlib";

export interface PngChunk {
  readonly type: string;
  /** Cut short where the file ends. */
  readonly data: Buffer;
  /** Where its first byte lies, that of its length. */
  readonly at: number;
  /** What its header says; `data` has fewer where the file ends before. */
  readonly length: number;
  readonly checksum: number | undefined;
}

const signatureLength = 8;

/** All chunks up to IEND or the end of the bytes. */
export function* pngChunks(file: Uint8Array): Generator<PngChunk> {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  for (let at = signatureLength; at + 8 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString("latin1", at + 4, at + 8);
    const end = at + 8 + length;
    const checksum = end + 4 <= bytes.length ? bytes.readUInt32BE(end) : undefined;
    yield { type, data: bytes.subarray(at + 8, end), at, length, checksum };
    if (type === "IEND") return;
    at = end + 4;
  }
}

/** Where a PNG may keep its orientation: the last chunk of each kind counts, as in Pillow. */
export interface PngTags {
  readonly exif?: Uint8Array;
  /** The text of ImageMagick's "Raw profile type exif". */
  readonly rawProfile?: string;
  readonly xmp?: string;
}

export function pngTags(file: Uint8Array): PngTags {
  const texts = new Map<string, string>();
  let exif: Uint8Array | undefined;
  let pictureSeen = false;
  for (const { type, data } of pngChunks(file)) {
    if (type === "IDAT") pictureSeen = true;
    if (type === "fcTL" && pictureSeen) break; // the next frame of an animation: what follows is about that
    if (type === "eXIf") exif = data;
    const text = textOf(type, data);
    if (text) texts.set(...text);
  }
  const rawProfile = texts.get("Raw profile type exif");
  const xmp = texts.get("XML:com.adobe.xmp");
  return { ...(exif && { exif }), ...(rawProfile && { rawProfile }), ...(xmp && { xmp }) };
}

/** A text chunk's keyword and text; undefined for other chunks and for texts that cannot be read. */
function textOf(type: string, data: Buffer): [keyword: string, text: string] | undefined {
  const end = data.indexOf(0);
  if (end === -1) return undefined;
  const keyword = data.toString("latin1", 0, end);
  if (type === "tEXt") return [keyword, data.toString("latin1", end + 1)];
  if (type === "zTXt") return inflated(keyword, data.subarray(end + 2));
  if (type !== "iTXt") return undefined;
  const compressed = data[end + 1] === 1;
  const languageEnd = data.indexOf(0, end + 3);
  const translationEnd = languageEnd === -1 ? -1 : data.indexOf(0, languageEnd + 1);
  if (translationEnd === -1) return undefined;
  const text = data.subarray(translationEnd + 1);
  return compressed ? inflated(keyword, text) : [keyword, text.toString("latin1")];
}

/** Pillow reads as much of a compressed text. */
const longestText = 2 ** 20;

function inflated(keyword: string, data: Buffer): [string, string] | undefined {
  try {
    return [keyword, inflateSync(data, { maxOutputLength: longestText }).toString("latin1")];
  } catch {
    return undefined; // damaged or too long: a text is no reason to refuse a picture
  }
}
