/**
 * @file Which way up a picture is, as Pillow's `ImageOps.exif_transpose` finds it: the EXIF block, then the EXIF block
 * that ImageMagick hides in a PNG text chunk, then the same property in the XMP packet.
 */
import type { Metadata, Sharp } from "sharp";
import type { ImageFormat } from "./image-format.ts";
import { firstTagValue, tiffTags } from "./tiff-tags.ts";

/** Mirroring (left to right, first) and clockwise turn that make a picture of each orientation upright. */
const turns: Readonly<Record<number, { readonly mirror: boolean; readonly angle: number }>> = {
  2: { mirror: true, angle: 0 },
  3: { mirror: false, angle: 180 },
  4: { mirror: true, angle: 180 },
  5: { mirror: true, angle: 270 },
  6: { mirror: false, angle: 90 },
  7: { mirror: true, angle: 90 },
  8: { mirror: false, angle: 270 },
};

/** Adds to a decoding pipeline what turns the picture upright; nothing for an upright one. */
export function turnUpright(pipeline: Sharp, orientation: number): Sharp {
  const turn = turns[orientation];
  if (turn === undefined) return pipeline;
  const mirrored = turn.mirror ? pipeline.flop() : pipeline; // sharp mirrors before it rotates, in whatever order it is told
  return turn.angle === 0 ? mirrored : mirrored.rotate(turn.angle);
}

/** The orientation written in a picture, 1 (upright) to 8; other numbers do occur and mean nothing. */
export function orientationOf(bytes: Uint8Array, format: ImageFormat, metadata: Metadata): number {
  if (format === "AVIF") return 1; // its container has its own rotation, which decoding applies and which wins over EXIF
  const exif = format === "TIFF" ? bytes : (exifBlock(metadata.exif) ?? exifBlock(exifInText(metadata)));
  const written = exif && firstTagValue(exif, tiffTags.orientation);
  return written ?? orientationInXmp(metadata) ?? 1;
}

/** The TIFF structure inside an EXIF block, with or without its `Exif\0\0` header. */
function exifBlock(bytes: Uint8Array | undefined): Uint8Array | undefined {
  const header = bytes && Buffer.from(bytes.subarray(0, 6)).toString("latin1");
  return header === "Exif\0\0" ? bytes?.subarray(6) : bytes;
}

/** PNG text "Raw profile type exif": an empty line, the profile's name, its length, then hexadecimal lines. */
function exifInText(metadata: Metadata): Uint8Array | undefined {
  const profile = metadata.comments?.find((comment) => comment.keyword === "Raw profile type exif");
  return profile && Buffer.from(profile.text.split("\n").slice(3).join(""), "hex");
}

function orientationInXmp(metadata: Metadata): number | undefined {
  const digit = metadata.xmp?.toString("latin1").match(/tiff:Orientation(?:="|>)([0-9])/)?.[1];
  return digit === undefined ? undefined : Number(digit);
}
