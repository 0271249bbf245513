/**
 * @file The size of a picture from its header, upright, without decoding a pixel: what `decodeImage` (image.ts) will give
 * if the rest of the file is whole.
 */
import { open, readFile } from "node:fs/promises";
import sharp from "sharp";
import { VlRewardError } from "../errors.ts";
import { type ImageFormat, imageFormatOf } from "./image-format.ts";
import { mediaName } from "./name.ts";
import { orientationOf } from "./orientation.ts";
import { localPolicy } from "./policy.ts";
import type { MediaSource } from "./source.ts";

const headLength = 1024; // what imageFormatOf looks at

/** `name` is the source as the user wrote it, for errors. Rejects as `decodeImage` does. */
export async function readImageSize(
  source: MediaSource,
  name: string,
  maxPixels = localPolicy.limits.maxPixels,
): Promise<{ width: number; height: number }> {
  const shownName = mediaName(name);
  const head = source.kind === "bytes" ? source.bytes : await readHead(source.path, shownName);
  if (head.length === 0) {
    throw new VlRewardError("media_damaged", `${shownName} is empty (0 bytes); expected a picture`);
  }
  const format = imageFormatOf(head, shownName);
  const { metadata, orientation } = await readHeader(source, format, head).catch((cause: unknown) => {
    const reason = (cause instanceof Error ? cause.message : String(cause)).split("\n")[0];
    throw new VlRewardError(
      "media_damaged",
      `${shownName} has a damaged header or is an unusual ${format}: ${reason}`,
      {
        cause,
      },
    );
  });
  const { width, height } = metadata;
  if (width * height > maxPixels) {
    throw new VlRewardError(
      "media_too_large",
      `${shownName} has ${width} x ${height} = ${width * height} pixels; at most ${maxPixels} are decoded`,
    );
  }
  const turned = orientation >= 5 && orientation <= 8;
  return turned ? { width: height, height: width } : { width, height };
}

async function readHeader(source: MediaSource, format: ImageFormat, head: Uint8Array) {
  const input = source.kind === "bytes" ? source.bytes : source.path;
  const metadata = await sharp(input, { failOn: "error", ignoreIcc: true, limitInputPixels: false }).metadata();
  // A TIFF's tags may lie anywhere in it.
  const tags = format === "TIFF" && source.kind === "file" ? await readFile(source.path) : head;
  return { metadata, orientation: orientationOf(tags, format, metadata) };
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
    throw new VlRewardError("media_not_found", `${shownName}: cannot read ${path}`, { cause });
  }
}
