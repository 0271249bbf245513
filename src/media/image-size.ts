/**
 * @file The size of a picture from its header, upright, without decoding a pixel: what `decodeImage` (image.ts) will give
 * if the rest of the file is whole.
 */
import { open, readFile } from "node:fs/promises";
import sharp, { type Metadata } from "sharp";
import { VlRewardError } from "../errors.ts";
import { assertPixels, emptyPicture, orDamaged, undecodable } from "./image-errors.ts";
import { type CodedFormat, headLength, imageFormatOf, isPlain, openPlain } from "./image-format.ts";
import { mediaName } from "./name.ts";
import { orientationOf } from "./orientation.ts";
import { localPolicy } from "./policy.ts";
import type { MediaSource } from "./source.ts";

/** `name` is the source as the user wrote it, for errors. Rejects as `decodeImage` does. */
export async function readImageSize(
  source: MediaSource,
  name: string,
  maxPixels = localPolicy.limits.maxPixels,
): Promise<{ width: number; height: number }> {
  const shownName = mediaName(name);
  const head = source.kind === "bytes" ? source.bytes : await readHead(source.path, shownName);
  if (head.length === 0) throw emptyPicture(shownName);
  const format = imageFormatOf(head, shownName);
  if (isPlain(format)) {
    const { width, height } = orDamaged(shownName, format, () => openPlain(format, head));
    assertPixels(shownName, width, height, maxPixels);
    return { width, height };
  }
  const whole = async (): Promise<Uint8Array> => (source.kind === "bytes" ? source.bytes : await readFile(source.path));
  const metadata = await metadataOf(source).catch(async (cause: unknown) => {
    throw undecodable(shownName, format, await whole(), cause);
  });
  const { width, height } = metadata;
  assertPixels(shownName, width, height, maxPixels);
  const orientation = orientationOf(tagsAnywhere.has(format) ? await whole() : head, format, metadata);
  const turned = orientation >= 5 && orientation <= 8;
  return turned ? { width: height, height: width } : { width, height };
}

/** Formats whose tags may lie anywhere in the file. */
const tagsAnywhere: ReadonlySet<CodedFormat> = new Set(["TIFF", "PNG"]);

function metadataOf(source: MediaSource): Promise<Metadata> {
  const input = source.kind === "bytes" ? source.bytes : source.path;
  return sharp(input, { failOn: "error", ignoreIcc: true, limitInputPixels: false }).metadata();
}

async function readHead(path: string, shownName: string): Promise<Uint8Array> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(headLength), position: 0 });
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new VlRewardError("media_not_found", `${shownName} cannot be read`, { cause });
  }
}
