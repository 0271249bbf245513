/**
 * @file Which picture format bytes are in, told by their first bytes and never by a file name: what is not in the table
 * does not reach the decoder, so that no loader runs that was not meant to (libvips would also render SVG).
 */
import { VlRewardError } from "../errors.ts";
import { isBmp, openBmp } from "./plain/bmp.ts";
import type { PlainPicture } from "./plain/plain-picture.ts";
import { isPnm, openPnm } from "./plain/pnm.ts";
import { isTga, openTga } from "./plain/tga.ts";

/** Formats that libvips decodes. */
export type CodedFormat = "JPEG" | "PNG" | "WebP" | "GIF" | "TIFF" | "AVIF";
/** Formats that are decoded here. */
export type PlainFormat = "BMP" | "PPM" | "TGA";
export type ImageFormat = CodedFormat | PlainFormat;

const supported = "JPEG, PNG, WebP, GIF, TIFF, AVIF, BMP, PPM or TGA";

/** What imageFormatOf looks at, and where the headers of plain formats lie, a long comment in a PPM included. */
export const headLength = 4096;

const plainFormats: Readonly<Record<PlainFormat, (bytes: Uint8Array) => PlainPicture>> = {
  BMP: openBmp,
  PPM: openPnm,
  TGA: openTga,
};

export const isPlain = (format: ImageFormat): format is PlainFormat => format in plainFormats;

/** Reads the header. Throws `BrokenPicture`. */
export const openPlain = (format: PlainFormat, bytes: Uint8Array): PlainPicture => plainFormats[format](bytes);

/** The format of a picture. `name` is what an error calls it. Throws `media_unknown_format`. */
export function imageFormatOf(bytes: Uint8Array, name: string): ImageFormat {
  const head = headOf(bytes);
  const format = signedFormat(head, bytes);
  if (format !== undefined) return format;
  const refused = refusedFormat(head);
  if (refused === undefined && isTga(bytes)) return "TGA";
  const found =
    refused === undefined
      ? "is of an unknown format"
      : refused.startsWith("a video")
        ? `is ${refused} where a picture is expected (a part of type video takes it)`
        : `is ${refused}, which is not supported`;
  throw new VlRewardError("media_unknown_format", `${name} ${found}; expected ${supported}`);
}

/** Whether bytes begin with a picture's signature. */
export const isKnownBeginning = (bytes: Uint8Array): boolean => signedFormat(headOf(bytes), bytes) !== undefined;

const headOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 1024)).toString("latin1");

function signedFormat(head: string, bytes: Uint8Array): ImageFormat | undefined {
  if (head.startsWith("\xff\xd8\xff")) return "JPEG";
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (head.startsWith("RIFF") && head.startsWith("WEBP", 8)) return "WebP";
  if (head.startsWith("GIF87a") || head.startsWith("GIF89a")) return "GIF";
  if (["II*\0", "MM\0*", "II+\0", "MM\0+"].some((magic) => head.startsWith(magic))) return "TIFF"; // "+": BigTIFF
  if (brandsOf(head).some((brand) => brand === "avif" || brand === "avis")) return "AVIF";
  if (isBmp(bytes)) return "BMP";
  if (isPnm(bytes)) return "PPM";
  return undefined;
}

/** What a picture of an unsupported format is, in words for the error. */
function refusedFormat(head: string): string | undefined {
  const brands = brandsOf(head);
  if (brands.some((brand) => /^(he[ivx]|mif|msf)/.test(brand))) return "HEIC";
  if (brands.length > 0) return "a video (mp4)";
  if (/^\s*<(?:!doctype html|html)/i.test(head)) return "an HTML page";
  if (/<svg[\s>]/i.test(head)) return "SVG";
  return signatures.find(([signature, , at = 0]) => head.startsWith(signature, at))?.[1];
}

const signatures: readonly (readonly [signature: string, name: string, at?: number])[] = [
  ["\xff\x0a", "JPEG XL"],
  ["JXL ", "JPEG XL", 4],
  ["\xff\x4f\xff\x51", "JPEG 2000"],
  ["jP  ", "JPEG 2000", 4],
  ["\xff\xd8", "a JPEG with a damaged beginning"],
  ["\0\0\x01\0", "an icon file"],
  ["P7\n", "PAM"],
  ["Pf\n", "PFM"],
  ["PF\n", "PFM"],
  ["8BPS", "a Photoshop document"],
  ["v/1\x01", "OpenEXR"],
  ["#?RADIANCE", "Radiance HDR"],
  ["qoif", "QOI"],
  ["DDS ", "DDS"],
  ["BPG\xfb", "BPG"],
  ["\x1a\x45\xdf\xa3", "a video"],
  ["AVI ", "a video", 8],
  ["FLV\x01", "a video"],
  ["\x30\x26\xb2\x75", "a video"],
  ["%PDF", "PDF"],
  ["%!PS", "PostScript"],
  ["\x1f\x8b", "a gzip archive"],
  ["PK\x03\x04", "a zip archive"],
  ["version https://git-lfs", "a git-lfs pointer, which git lfs pull replaces by the file"],
];

/** The brands in the `ftyp` box of an ISO base media file: the major one, then those it is compatible with. */
function brandsOf(head: string): string[] {
  if (!head.startsWith("ftyp", 4)) return [];
  const boxLength = Buffer.from(head.slice(0, 4), "latin1").readUInt32BE();
  const brands = [head.slice(8, 12)];
  for (let at = 16; at < Math.min(boxLength, head.length); at += 4) brands.push(head.slice(at, at + 4));
  return brands;
}
