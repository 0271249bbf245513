/**
 * @file What may stand in a record and not be read. Everything that a model was meant to see is read or refused: a picture
 * under a key that nobody knows would be missed by no one, and the record scored blind.
 */

import { quote } from "../errors.ts";

/** Whose content is the user's own, whatever is in it. */
export const metaKey = "meta";

/** null, "", false, [] and {}: a key that tables have in every row, and that says nothing in this one. */
export function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

const nouns = /^(image|img|picture|photo|pic|screenshot|video|clip|frame|audio|media)s?$/;
const holders = /^(path|file|url|uri|byte|base64|b64|data|list)s?$/;
const ending =
  /\.(png|jpe?g|jfif|gif|webp|bmp|tiff?|avif|hei[cf]|p[gp]m|tga|svg|mp4|m4v|mov|mkv|webm|avi|flv|wmv|mpe?g|ogv|3gp|wav|mp3|flac|ogg|m4a)$/i;
/** The first bytes of PNG, JPEG, GIF, RIFF (WebP, AVI, WAV) in base64. */
const magic = /^(iVBORw0KGgo|\/9j\/|R0lGOD|UklGR)/;

/**
 * Whether a key that is not known holds a picture, a video or sound, by its name (`screenshot`, `image_paths`) or by what is
 * in it, however deep: a path or address with such an ending, a data URL, bytes.
 */
export function carriesMedia(key: string, value: unknown): boolean {
  if (isEmpty(value) || typeof value !== "object")
    return typeof value === "string" && value !== "" && holds(key, value);
  const named = namesMedia(key);
  const left: [string, unknown][] = [[key, value]]; // a stack: records may be nested as deep as they like
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [name, held] = next;
    if (typeof held === "string" && held !== "" && (named || holds(name, held))) return true;
    if (typeof held !== "object" || held === null) continue;
    for (const [inner, entry] of Object.entries(held)) left.push([Array.isArray(held) ? name : inner, entry]);
  }
  return false;
}

const holds = (key: string, value: string): boolean => namesMedia(key) || isMedia(key, value);

function namesMedia(key: string): boolean {
  const words = key.split(/[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])/).map((word) => word.toLowerCase());
  while (words.length > 1 && holders.test(words.at(-1) ?? "")) words.pop();
  return nouns.test(words.at(-1) ?? "");
}

function isMedia(key: string, value: string): boolean {
  if (/^data:(image|video|audio)\//i.test(value)) return true;
  if (value.length > 64 && (magic.test(value) || key === "bytes")) return true;
  if (value.length > 4096 || value.includes("\n")) return false;
  return ending.test(/^https?:/i.test(value) ? value.replace(/[?#].*$/, "") : value);
}

/** What to do with a key that holds media and is not known. */
export const mediaAdvice = (key: string): string =>
  `${quote(key)} looks like a picture, video or sound, and nothing reads it under this name; put what the model is to see into ` +
  `"images" or "videos", and what it is not to see into "${metaKey}": {...}`;
