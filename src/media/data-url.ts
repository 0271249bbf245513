/**
 * @file Bytes that stand in the record itself: data URLs (RFC 2397), and base64 without the beginning of one. By hand:
 * fetch takes half a second for ten megabytes, and replacing escapes by a regular expression forty bytes of memory for
 * each of them.
 */
import { VlRewardError } from "../errors.ts";
import { base64Size } from "./base64.ts";
import { mediaName } from "./name.ts";
import { tooLarge } from "./policy.ts";

const percent = 0x25;

/** The bytes of what `isBase64Picture` takes for them. Throws `media_too_large`. */
export function base64Bytes(source: string, maxBytes: number): Uint8Array {
  const size = base64Size(source) ?? 0;
  if (size > maxBytes) throw tooLarge(source, `${size} bytes`, maxBytes);
  return Buffer.from(source, "base64");
}

/** The bytes of a data URL. Throws `media_damaged` where it is malformed, `media_too_large` before anything is decoded. */
export function dataUrlBytes(url: string, maxBytes: number): Uint8Array {
  const comma = url.indexOf(",");
  if (comma === -1) throw malformed(url, "it has no comma");
  const isBase64 = /;\s*base64\s*$/i.test(url.slice(Math.max(0, comma - 64), comma));
  const body = url.slice(comma + 1);
  if (!isBase64) return unescaped(url, body, maxBytes);
  // Base64 may be escaped as well; undone it is at most four bytes for every three that are asked for.
  const text = body.includes("%") ? unescaped(url, body, 4 * maxBytes).toString("latin1") : body;
  const size = base64Size(text);
  if (size === undefined) throw malformed(url, "what follows the comma is not base64");
  if (size > maxBytes) throw tooLarge(url, `${size} bytes`, maxBytes);
  return Buffer.from(text, "base64");
}

/** Percent-encoded bytes; a "%" that begins no escape stands for itself. */
function unescaped(url: string, body: string, maxBytes: number): Buffer {
  let size = body.length;
  for (let at = body.indexOf("%"); at !== -1; at = body.indexOf("%", at + 1)) if (escapedByte(body, at) >= 0) size -= 2;
  if (size > maxBytes) throw tooLarge(url, `${size} bytes`, maxBytes);
  const bytes = Buffer.allocUnsafe(size);
  for (let at = 0, to = 0; at < body.length; at++, to++) {
    const code = body.charCodeAt(at);
    const escaped = code === percent ? escapedByte(body, at) : -1;
    if (code > 0xff) throw malformed(url, "it has characters that are not ASCII");
    bytes[to] = escaped >= 0 ? escaped : code;
    if (escaped >= 0) at += 2;
  }
  return bytes;
}

/** The byte that the escape at this place stands for; -1 where there is none. */
function escapedByte(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at + 1));
  const low = hexDigit(text.charCodeAt(at + 2));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/** -1 for what is no hexadecimal digit, the end of the text included. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

function malformed(url: string, found: string): VlRewardError {
  return new VlRewardError(
    "media_damaged",
    `${mediaName(url)} is malformed: ${found}; expected data:<type>;base64,<base64> or data:<type>,<percent-encoded>`,
  );
}
