/**
 * @file Which way up a picture is, as Pillow's `ImageOps.exif_transpose` finds it: the EXIF block, then the EXIF block
 * that ImageMagick hides in a PNG text chunk, then the same property in the XMP packet.
 */
import type { Metadata, Sharp } from "sharp";
import type { CodedFormat } from "./image-format.ts";
import { type PngTags, pngTags } from "./png-chunks.ts";
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

/**
 * The orientation written in a picture, 1 (upright) to 8; other numbers do occur and mean nothing.
 *
 * @param bytes the whole file of a TIFF or PNG, whose tags may lie anywhere; of others `metadata` holds them
 */
export function orientationOf(bytes: Uint8Array, format: CodedFormat, metadata: Metadata): number {
  if (format === "AVIF") return 1; // its container has its own rotation, which decoding applies and which wins over EXIF
  const { exif, rawProfile, xmp } = format === "PNG" ? pngTags(bytes) : ofMetadata(metadata);
  const block = format === "TIFF" ? bytes : (exif ?? exifInText(rawProfile));
  const written = block === undefined ? undefined : firstTagValue(withoutHeader(block), tiffTags.orientation);
  return written ?? (xmp === undefined ? undefined : orientationInXmp(xmp)) ?? 1;
}

const ofMetadata = ({ exif, xmp }: Metadata): PngTags => ({
  ...(exif && { exif }),
  ...(xmp && { xmp: xmp.toString("latin1") }),
});

const exifHeader = "Exif\0\0";

/** The TIFF structure inside an EXIF block, which may have a header, in PNG a second one by mistake. */
function withoutHeader(bytes: Uint8Array): Uint8Array {
  let block = bytes;
  while (Buffer.from(block.subarray(0, exifHeader.length)).toString("latin1") === exifHeader) {
    block = block.subarray(exifHeader.length);
  }
  return block;
}

/** An empty line, the profile's name, its length, then hexadecimal lines. */
const exifInText = (text?: string): Uint8Array | undefined =>
  text === undefined ? undefined : Buffer.from(text.split("\n").slice(3).join(""), "hex");

function orientationInXmp(xmp: string): number | undefined {
  const digit = /tiff:Orientation(?:="|>)([0-9])/.exec(xmp)?.[1];
  return digit === undefined ? undefined : Number(digit);
}
