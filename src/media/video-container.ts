/**
 * @file Which container a video file is in, told by its first bytes, and whether all of it is there. FFmpeg takes many a file
 * that was cut short for whole, or for one without pictures.
 */

/** FFmpeg's names of the demuxers that are opened; no others are. */
export type Demuxer =
  | "mov"
  | "matroska"
  | "avi"
  | "flv"
  | "asf"
  | "mpeg"
  | "mpegts"
  | "mpegvideo"
  | "gif"
  | "webp_anim";

export const containerNames = "mp4, mov, webm, mkv, avi, flv, wmv, mpg, ts, gif or animated webp";

/** Bytes of a file's beginning that tell its container: three packets of a transport stream. */
export const headLength = 600;

export interface Container {
  readonly demuxer: Demuxer;
  /** Whether frames can be found by their times, without decoding all before them: others are decoded from the start. */
  readonly searchable: boolean;
  /** Whether frames are to be laid on white; the reference shows what lies under the transparency of a GIF. */
  readonly transparent: boolean;
}

/** The types of the first box in mp4 and QuickTime files: `ftyp` in all but old or unusual ones. */
const firstBoxes = new Set(["ftyp", "moov", "mdat", "wide", "free", "skip", "pnot"]);

/** The container of a file that begins so. */
export function containerOf(head: Uint8Array): Container | undefined {
  const demuxer = demuxerOf(head);
  if (demuxer === undefined) return undefined;
  const transparent = demuxer === "webp_anim" && ((head[20] ?? 0) & 0x10) !== 0;
  return { demuxer, searchable: demuxer === "mov" || demuxer === "matroska", transparent };
}

function demuxerOf(head: Uint8Array): Demuxer | undefined {
  const text = Buffer.from(head).toString("latin1");
  if (text.startsWith("\x1a\x45\xdf\xa3")) return "matroska";
  if (firstBoxes.has(text.slice(4, 8))) return "mov";
  if (text.startsWith("RIFF") && text.startsWith("AVI ", 8)) return "avi";
  if (text.startsWith("RIFF") && text.startsWith("WEBPVP8X", 8) && ((head[20] ?? 0) & 2) !== 0) return "webp_anim";
  if (text.startsWith("FLV\x01")) return "flv";
  if (text.startsWith("\x30\x26\xb2\x75\x8e\x66\xcf\x11")) return "asf";
  if (text.startsWith("GIF87a") || text.startsWith("GIF89a")) return "gif";
  if (text.startsWith("\0\0\x01\xba")) return "mpeg";
  if (text.startsWith("\0\0\x01\xb3")) return "mpegvideo";
  // Packets of 188 bytes that each begin with a G; in m2ts four more bytes stand before each.
  const isStream = (first: number, step: number) => [0, 1, 2].every((packet) => text[first + packet * step] === "G");
  return isStream(0, 188) || isStream(4, 192) ? "mpegts" : undefined;
}

/** A file, or what stands for one. */
export interface Readable {
  readonly length: number;
  /** At most `length` bytes from a place on. */
  read(at: number, length: number): Promise<Buffer>;
}

/** What says that a file is not all there, as the end of a sentence that begins with its name; undefined where nothing does. */
export async function cutIn(file: Readable, demuxer: Demuxer): Promise<string | undefined> {
  if (demuxer === "mov") return cutInBoxes(file);
  const stated = demuxer === "matroska" ? matroskaLength(await file.read(0, 64)) : await riffLength(file, demuxer);
  return stated !== undefined && stated > file.length ? truncated(file.length, stated) : undefined;
}

const truncated = (length: number, stated: number): string => `it is truncated, ${length} bytes of ${stated}`;

/** Boxes that mean something at the top of a file; after the last one may lie anything. */
const knownBoxes = new Set([
  "ftyp",
  "moov",
  "mdat",
  "moof",
  "mfra",
  "sidx",
  "styp",
  "free",
  "skip",
  "wide",
  "uuid",
  "meta",
]);

/** Boxes lie one behind another, each with its length; as many as a long fragmented file has are looked at. */
async function cutInBoxes(file: Readable): Promise<string | undefined> {
  let hasIndex = false;
  for (let at = 0, count = 0; at + 8 <= file.length && count < 100_000; count++) {
    const header = await file.read(at, 16);
    const type = header.toString("latin1", 4, 8);
    if (!knownBoxes.has(type)) break;
    hasIndex ||= type === "moov";
    const short = header.readUInt32BE(0);
    if (short === 1 && header.length < 16) return truncated(file.length, at + 16);
    const length = short === 1 ? Number(header.readBigUInt64BE(8)) : short === 0 ? file.length - at : short;
    if (at + length > file.length) return truncated(file.length, at + length);
    if (length < 8) break;
    at += length;
  }
  return hasIndex ? undefined : "it has no index (moov): it is truncated, or its recording was never finished";
}

/** The length that the header of an avi or webp file states; undefined where it was written as a stream, without one. */
async function riffLength(file: Readable, demuxer: Demuxer): Promise<number | undefined> {
  if (demuxer !== "avi" && demuxer !== "webp_anim") return undefined;
  const size = (await file.read(4, 4)).readUInt32LE(0);
  return size === 0 || size >= 0x7fffffff ? undefined : size + 8;
}

/** The same of a Matroska file. */
function matroskaLength(head: Buffer): number | undefined {
  const start = head.indexOf("18538067", 0, "hex") + 4; // the segment: everything after the header
  const first = head[start];
  if (start < 4 || first === undefined || first === 0) return undefined;
  const length = Math.clz32(first) - 23; // leading zeros tell how many bytes the number has
  if (start + length > head.length) return undefined;
  let size = first & (0xff >> length);
  let allOnes = size === 0xff >> length;
  for (const byte of head.subarray(start + 1, start + length)) {
    size = size * 256 + byte;
    allOnes &&= byte === 0xff;
  }
  return allOnes ? undefined : start + length + size;
}
