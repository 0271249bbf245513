/**
 * @file Which picture format bytes are in, told by their first bytes and never by a file name: what is not in the table
 * does not reach the decoder, so that no loader runs that was not meant to (libvips would also render SVG).
 */
import { VlRewardError } from "../errors.ts";

export type ImageFormat = "JPEG" | "PNG" | "WebP" | "GIF" | "TIFF" | "AVIF";

const supported = "JPEG, PNG, WebP, GIF, TIFF or AVIF";

/** The format of a picture. `name` is what an error calls it. Throws `media_unknown_format`. */
export function imageFormatOf(bytes: Uint8Array, name: string): ImageFormat {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 1024)).toString("latin1");
  const format = supportedFormat(head);
  if (format !== undefined) return format;
  const refused = refusedFormat(head);
  const found = refused === undefined ? "is of an unknown format" : `is ${refused}, which is not supported`;
  throw new VlRewardError("media_unknown_format", `${name} ${found}; expected ${supported}`);
}

function supportedFormat(head: string): ImageFormat | undefined {
  if (head.startsWith("\xff\xd8\xff")) return "JPEG";
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (head.startsWith("RIFF") && head.startsWith("WEBP", 8)) return "WebP";
  if (head.startsWith("GIF87a") || head.startsWith("GIF89a")) return "GIF";
  if (["II*\0", "MM\0*", "II+\0", "MM\0+"].some((magic) => head.startsWith(magic))) return "TIFF"; // "+": BigTIFF
  if (brandsOf(head).some((brand) => brand === "avif" || brand === "avis")) return "AVIF";
  return undefined;
}

/** What a picture of an unsupported format is, in words for the error. */
function refusedFormat(head: string): string | undefined {
  if (brandsOf(head).some((brand) => /^(he[ivx]|mif|msf)/.test(brand))) return "HEIC";
  if (/<svg[\s>]/i.test(head)) return "SVG";
  if (/^\s*<(!doctype html|html)/i.test(head)) return "an HTML page";
  if (head.startsWith("%PDF")) return "PDF";
  if (head.startsWith("8BPS")) return "a Photoshop document";
  if (head.startsWith("\xff\x0a") || head.startsWith("JXL ", 4)) return "JPEG XL";
  if (head.startsWith("\xff\x4f\xff\x51") || head.startsWith("jP  ", 4)) return "JPEG 2000";
  if (head.startsWith("\0\0\x01\0")) return "an icon file";
  if (head.startsWith("BM")) return "BMP";
  return undefined;
}

/** The brands in the `ftyp` box of an ISO base media file: the major one, then those it is compatible with. */
function brandsOf(head: string): string[] {
  if (!head.startsWith("ftyp", 4)) return [];
  const boxLength = Buffer.from(head.slice(0, 4), "latin1").readUInt32BE();
  const brands = [head.slice(8, 12)];
  for (let at = 16; at < Math.min(boxLength, head.length); at += 4) brands.push(head.slice(at, at + 4));
  return brands;
}
