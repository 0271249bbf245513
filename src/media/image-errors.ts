/** @file What is said of a picture that is not decoded, by its header (image-size.ts) and by all of it (image.ts) alike. */
import { VlRewardError } from "../errors.ts";
import { faultIn } from "./broken-data.ts";
import type { CodedFormat, ImageFormat } from "./image-format.ts";
import { BrokenPicture } from "./plain/plain-picture.ts";

/** `name` is what a message calls the picture, here and below. */
export const emptyPicture = (name: string): VlRewardError =>
  new VlRewardError("media_damaged", `${name} is empty (0 bytes); expected a picture`);

/** What libvips threw at a picture. */
export const undecodable = (name: string, format: CodedFormat, bytes: Uint8Array, cause: unknown): VlRewardError =>
  damaged(name, format, faultIn(bytes, format), cause);

/** Runs a decoder of ours. Throws `media_damaged` for its `BrokenPicture`. */
export function orDamaged<Result>(name: string, format: ImageFormat, decode: () => Result): Result {
  try {
    return decode();
  } catch (cause) {
    if (cause instanceof BrokenPicture) throw damaged(name, format, cause.message, cause);
    throw cause;
  }
}

const damaged = (name: string, format: ImageFormat, fault: string, cause: unknown): VlRewardError =>
  new VlRewardError("media_damaged", `${name} is damaged or an unusual ${format}: ${fault}`, { cause });

/** Throws `media_too_large`. */
export function assertPixels(name: string, width: number, height: number, maxPixels: number): void {
  if (width * height <= maxPixels) return;
  throw new VlRewardError(
    "media_too_large",
    `${name} has ${width} x ${height} = ${width * height} pixels; at most ${maxPixels} are decoded`,
  );
}
