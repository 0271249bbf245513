/**
 * @file Bytes of a picture to upright 8-bit RGB, bit-equal to what Pillow 11.3 and qwen_vl_utils' `to_rgb` read.
 *
 * libvips (through sharp) decodes and turns, but for the formats in plain/; what colours mean is decided here, because libvips' own conversions differ:
 * colour profiles are ignored, CMYK is converted by Pillow's integer formula and transparency is laid on white with
 * Pillow's rounding. Three differences from the reference are deliberate: orientation is applied, transparency counts in
 * grey and palette pictures too (the reference shows what hides under it), and 16-bit grey keeps its high byte
 * (the reference cuts off at 255). AVIF's chroma is interpolated otherwise than in libavif: see image.test.ts.
 *
 * Knows nothing of sizes that a model wants (src/models/qwen2_5_vl/image-process.ts) or of where bytes come from (source.ts).
 */
import sharp, { type Metadata, type Sharp } from "sharp";
import { VlRewardError } from "../errors.ts";
import { paintMargin } from "./frame-margin.ts";
import { assertPixels, emptyPicture, orDamaged, undecodable } from "./image-errors.ts";
import { type CodedFormat, imageFormatOf, isPlain, openPlain } from "./image-format.ts";
import { mediaName } from "./name.ts";
import { divideBy255, toOpaque } from "./opaque.ts";
import { orientationOf, turnUpright } from "./orientation.ts";
import { localPolicy } from "./policy.ts";
import { firstTagValue, tiffTags } from "./tiff-tags.ts";

export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array; // [height, width, 3]
}

/**
 * Decodes one picture: JPEG, PNG, WebP, GIF, TIFF, AVIF, BMP, PPM or TGA, the first frame or page of several. `name` is the source as
 * the user wrote it, for errors. Rejects with `media_unknown_format`, `media_too_large` or `media_damaged`.
 *
 * @param maxPixels above it nothing is decoded
 */
export async function decodeImage(
  bytes: Uint8Array,
  name: string,
  maxPixels = localPolicy.limits.maxPixels,
): Promise<RgbImage> {
  const shownName = mediaName(name);
  if (bytes.length === 0) throw emptyPicture(shownName);
  const format = imageFormatOf(bytes, shownName);
  if (isPlain(format)) {
    const picture = orDamaged(shownName, format, () => openPlain(format, bytes));
    const { width, height } = picture;
    assertPixels(shownName, width, height, maxPixels);
    const { data, channels } = orDamaged(shownName, format, () => picture.decode());
    return { width, height, data: toOpaque(data, channels, channels === 4) };
  }
  try {
    const metadata = await open(bytes).metadata();
    assertPixels(shownName, metadata.width, metadata.height, maxPixels);
    return await decodePixels(bytes, format, metadata);
  } catch (cause) {
    throw cause instanceof VlRewardError ? cause : undecodable(shownName, format, bytes, cause);
  }
}

/**
 * `failOn: "error"` is as strict as Pillow: truncated data fails, but the harmless irregularities that libjpeg warns of
 * (a few stray bytes before a marker) do not.
 */
function open(bytes: Uint8Array): Sharp {
  return sharp(bytes, { failOn: "error", ignoreIcc: true, limitInputPixels: false });
}

async function decodePixels(bytes: Uint8Array, format: CodedFormat, metadata: Metadata): Promise<RgbImage> {
  const upright = turnUpright(open(bytes), orientationOf(bytes, format, metadata));
  if (metadata.space === "cmyk") {
    const depth = metadata.depth === "ushort" ? "ushort" : "uchar";
    const raw = upright.pipelineColourspace("cmyk").toColourspace("cmyk").raw({ depth });
    const { data, info } = await raw.toBuffer({ resolveWithObject: true });
    const inks = depth === "ushort" ? highBytes(data) : data;
    return { width: info.width, height: info.height, data: cmykToRgb(inks, info.channels) };
  }
  // libvips gives grey, palette and 1-bit pictures as RGB here, and of 16 bits the high byte.
  const { data, info } = await upright.raw().toBuffer({ resolveWithObject: true });
  const alpha = metadata.hasAlpha && hasMeaningfulAlpha(bytes, format);
  const rgb = toOpaque(data, info.channels, alpha);
  if (!alpha) paintMargin(rgb, info.width, info.height, bytes, format);
  return { width: info.width, height: info.height, data: rgb };
}

/** Whether a fourth channel is transparency to the reference, which skips three kinds that libvips takes for it. */
function hasMeaningfulAlpha(bytes: Uint8Array, format: CodedFormat): boolean {
  // RGB with one colour declared transparent (tRNS): the reference's `to_rgb` looks at RGBA only.
  if (format === "PNG") return bytes[25] !== pngTruecolour;
  // An animation without the flag: libvips gives all of them a fourth channel.
  if (format === "WebP" && isWebpAnimation(bytes)) return ((bytes[20] ?? 0) & webpFlags.alpha) !== 0;
  if (format === "TIFF") return firstTagValue(bytes, tiffTags.extraSamples) !== tiffUnspecifiedSample;
  return true;
}

/** Whether the file has a chunk VP8X, the first one then, whose flags say so. */
const isWebpAnimation = (bytes: Uint8Array): boolean =>
  Buffer.from(bytes.subarray(12, 16)).toString("latin1") === "VP8X" && ((bytes[20] ?? 0) & webpFlags.animation) !== 0;

const webpFlags = { animation: 0x02, alpha: 0x10 } as const;

const pngTruecolour = 2; // IHDR's colour type, the byte at 25
const tiffUnspecifiedSample = 0;

/** Inks (0 is none) -> RGB as Pillow's `cmyk2rgb`: what black leaves, less its share of each ink. */
function cmykToRgb(inks: Uint8Array, channels: number): Uint8Array {
  const pixels = inks.length / channels;
  const rgb = new Uint8Array(pixels * 3);
  for (let pixel = 0, from = 0, to = 0; pixel < pixels; pixel++, from += channels, to += 3) {
    const light = 255 - (inks[from + 3] ?? 0);
    for (let channel = 0; channel < 3; channel++) {
      const ink = inks[from + channel] ?? 0;
      rgb[to + channel] = light - divideBy255(ink * light);
    }
  }
  return rgb;
}

function highBytes(samples: Buffer): Uint8Array {
  const high = new Uint8Array(samples.length / 2);
  for (let index = 0; index < high.length; index++) high[index] = samples.readUInt16LE(2 * index) >> 8;
  return high;
}
