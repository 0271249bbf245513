/**
 * @file Base64 as it stands in records: whether it is some, and of a picture, without decoding more than its beginning.
 */
import { isKnownBeginning } from "./image-format.ts";

const base64Digits = tableOf("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
const whitespace = tableOf("\t\n\f\r ");
const padding = 0x3d;

/** Shorter ones could be names of files. */
const shortestBase64 = 64;

/**
 * Whether a source is base64 of a picture, without a word about it: base64 digits alone, of bytes that begin as a picture
 * does. A path of that spelling would be a long way of folders without one dot.
 */
export function isBase64Picture(source: string): boolean {
  if (source.length < shortestBase64 || !isKnownBeginning(Buffer.from(source.slice(0, 96), "base64"))) return false;
  return base64Size(source) !== undefined;
}

/** What may have been meant as base64 and is not certain to be. */
export function resemblesBase64(source: string): boolean {
  if (/^[\w.+/-]{0,40};?\s?base64,/i.test(source)) return true;
  return source.length >= 4 * shortestBase64 && base64Size(source) !== undefined;
}

/** How many bytes a text in base64 is, white space and a missing padding allowed; undefined where it is none. */
export function base64Size(text: string): number | undefined {
  let digits = 0;
  let padded = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (base64Digits[code] === 1) {
      if (padded > 0) return undefined;
      digits++;
    } else if (code === padding) padded++;
    else if (whitespace[code] !== 1) return undefined;
  }
  return padded <= 2 && digits % 4 !== 1 ? Math.floor((digits * 3) / 4) : undefined;
}

/** 1 at the codes of these characters. */
function tableOf(characters: string): Uint8Array {
  const table = new Uint8Array(128);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}
