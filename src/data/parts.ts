/**
 * @file The parts of a message as they stand in JSON: OpenAI's, Qwen's, and the spellings of vLLM, Hugging Face and DashScope,
 * each read as the part that it means.
 *
 * A part's unknown keys are errors, because a misspelt `max_pixels` would silently change a score; OpenAI's `detail`, the
 * `cache_control` of other services and vLLM's `uuid` say nothing to this model and are let through; a `uuid` that stands in the place
 * of an address and names what was registered with a server is the address. A key whose value is
 * null counts as absent: tables exported from Arrow fill every row with all keys.
 */

import { z } from "zod";
import type { ImagePart, Part, VideoPart } from "../conversation.ts";
import { VlRewardError } from "../errors.ts";
import { camelCase } from "../files/camel-case.ts";

/** Text that has an encoding: half a surrogate pair has none, and a tokenizer would replace it without a word. */
export const text = z
  .string("a string")
  .refine((value) => !/\p{Surrogate}/u.test(value), "the text holds half of a surrogate pair, which is no character");

export const address = text
  .refine((value) => value !== "", "the address is empty")
  .refine((value) => !value.includes("\0"), "the address holds a NUL character");

const count = z.int("a positive whole number below 2^53").positive("a positive whole number");
const seconds = z.number("a number of seconds").nonnegative("a number of seconds that is not negative");

/** Hugging Face's `Image` column: `bytes` in base64, or where the file is. */
const fileObject = z.preprocess(
  withoutNulls,
  z.strictObject({ bytes: text.exactOptional(), path: z.string("a string").exactOptional() }),
);
const urlObject = z.strictObject({ url: address, detail: z.unknown().optional() }, 'an object with "url"');

/** Where a picture or video is: an address, or an object that holds it. */
export const location = z.union(
  [address, fileObject, urlObject],
  'an address, or an object with "bytes" and "path", or with "url"',
);

const ignored = { detail: z.unknown().optional(), cache_control: z.unknown().optional(), uuid: z.unknown().optional() };
const size = {
  min_pixels: count.exactOptional(),
  max_pixels: count.exactOptional(),
  resized_height: count.exactOptional(),
  resized_width: count.exactOptional(),
};
const sampling = {
  fps: z.number("a positive number").positive("a positive number").exactOptional(),
  nframes: count.exactOptional(),
  min_frames: count.exactOptional(),
  max_frames: count.exactOptional(),
  video_start: seconds.exactOptional(),
  video_end: seconds.exactOptional(),
  total_pixels: count.exactOptional(),
};
/** Transformers' ways to say where a part's medium is, beside the key of its own name. */
const elsewhere = { url: address.exactOptional(), path: address.exactOptional(), base64: text.exactOptional() };

const linked = (kind: EmptyPart["empty"]) =>
  z.preprocess(
    (value) => bytesAsUrl(value, kind),
    z.union([address, urlObject], 'an object with "url", or an address'),
  );
const footage = z.union(
  [address, z.array(z.union([address, fileObject], "an address"), "a list of addresses"), fileObject, urlObject],
  "an address or a list of the addresses of its frames",
);

const parts = {
  text: z.strictObject({ type: z.literal("text"), text, ...ignored }),
  image_url: z.strictObject({ type: z.literal("image_url"), image_url: linked("image"), ...size, ...ignored }),
  image: z.strictObject({
    type: z.literal("image"),
    image: location.exactOptional(),
    ...elsewhere,
    ...size,
    ...ignored,
  }),
  video: z.strictObject({
    type: z.literal("video"),
    video: footage.exactOptional(),
    ...elsewhere,
    ...sampling,
    ...size,
    ...ignored,
  }),
  video_url: z.strictObject({
    type: z.literal("video_url"),
    video_url: linked("video"),
    ...sampling,
    ...size,
    ...ignored,
  }),
};

/** A part as JSON has it; `readPart` turns what it accepts into a part of a conversation. */
export const wirePart = z.preprocess(
  typed,
  z.discriminatedUnion(
    "type",
    [parts.text, parts.image_url, parts.image, parts.video, parts.video_url],
    `a part of a known type (${Object.keys(parts).join(", ")})`,
  ),
);
type WirePart = z.infer<typeof wirePart>;

/** A place for a picture or video that stands elsewhere in the record, with what the place says of it. */
export interface EmptyPart {
  readonly empty: "image" | "video";
  readonly options: Omit<ImagePart, "type" | "image"> & Omit<VideoPart, "type" | "video">;
}

/** Drops the keys of an object whose value is null; anything else is left for a schema to judge. */
export function withoutNulls(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== null));
}

/** `{"bytes"}` where an object with `url` is expected. */
function bytesAsUrl(value: unknown, kind: EmptyPart["empty"]): unknown {
  const { bytes, url, ...others }: { bytes?: unknown; url?: unknown } =
    typeof value === "object" && value !== null ? value : {};
  if (typeof bytes !== "string" || bytes === "" || url !== undefined) return value;
  return { ...others, url: addressOf({ bytes }, kind) };
}

/** A string is a part of text; a part without a type has the type of the one key that names one. */
function typed(value: unknown): unknown {
  if (typeof value === "string") return { type: "text", text: value };
  const part = withoutNulls(value);
  if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
  if ("type" in part) return byUuid(part);
  const types = Object.keys(parts).filter((type) => type in part);
  return types.length === 1 ? { type: types[0], ...part } : part;
}

/** A part of vLLM's without an address, whose `uuid` is what a server has registered a picture or video under. */
function byUuid(part: { readonly type: unknown; readonly uuid?: unknown }): unknown {
  const { type, uuid } = part;
  if ((type !== "image_url" && type !== "video_url") || type in part || typeof uuid !== "string") return part;
  return uuid.startsWith("media:sha256:") ? { ...part, [type]: uuid } : part;
}

/** The keys that the object at `path` inside a record may have, given the record; for naming a misspelt one. */
export function knownPartKeys(record: unknown, path: readonly PropertyKey[]): readonly string[] {
  if (path.at(-1) === "image_url" || path.at(-1) === "video_url") return Object.keys(urlObject.shape);
  let at = record;
  for (const key of path) at = typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined;
  const part = typed(at);
  const type = typeof part === "object" && part !== null && "type" in part ? part.type : undefined;
  const known = Object.entries(parts).find(([name]) => name === type)?.[1];
  return known === undefined ? [] : Object.keys(known.shape);
}

/**
 * @param path where the part stands, for errors
 * @throws VlRewardError `invalid_record` where it says twice where its picture or video is
 */
export function readPart(wire: WirePart, path: string): Part | EmptyPart {
  switch (wire.type) {
    case "text":
      return { type: "text", text: wire.text };
    case "image_url": {
      const { type, image_url, ...rest } = wire;
      return { type: "image", image: addressOf(image_url, "image"), ...camelCase(withoutIgnored(rest)) };
    }
    case "video_url": {
      const { type, video_url, ...rest } = wire;
      return { type: "video", video: addressOf(video_url, "video"), ...camelCase(withoutIgnored(rest)) };
    }
    case "image": {
      const { type, image, url, path: file, base64, ...rest } = wire;
      const options = camelCase(withoutIgnored(rest));
      const found = onlyOne({ image: image && addressOf(image, type), ...places(type, url, file, base64) }, path);
      return found === undefined ? { empty: type, options } : { type, image: found, ...options };
    }
    case "video": {
      const { type, video, url, path: file, base64, ...rest } = wire;
      const options = camelCase(withoutIgnored(rest));
      const own = Array.isArray(video)
        ? video.map((frame) => addressOf(frame, "image"))
        : video && addressOf(video, type);
      const found = onlyOne<string | readonly string[]>({ video: own, ...places(type, url, file, base64) }, path);
      return found === undefined ? { empty: type, options } : { type, video: found, ...options };
    }
  }
}

/**
 * The address of a picture or video that JSON may hold in an object. Bytes become a data URL; what they are of, the decoder
 * finds out.
 *
 * @throws VlRewardError `invalid_record` for an object that holds neither
 */
export function addressOf(value: z.infer<typeof location>, kind: EmptyPart["empty"]): string {
  if (typeof value === "string") return value;
  if ("url" in value) return value.url;
  if (value.bytes) return `data:${kind}/*;base64,${value.bytes}`;
  if (value.path) return value.path;
  throw new VlRewardError(
    "invalid_record",
    `${kind}: expected bytes (in base64) or a path in the object, found neither`,
  );
}

const places = (
  kind: EmptyPart["empty"],
  url: string | undefined,
  path: string | undefined,
  base64: string | undefined,
) => ({ url, path, base64: base64 && addressOf({ bytes: base64 }, kind) });

function onlyOne<Value>(given: Readonly<Record<string, Value | undefined>>, path: string): Value | undefined {
  const found = Object.entries(given).filter(([, value]) => value !== undefined);
  if (found.length <= 1) return found[0]?.[1];
  const names = found.map(([name]) => name).join(" and ");
  throw new VlRewardError("invalid_record", `${path}: ${names} both say where it is; keep one of them`);
}

function withoutIgnored<T extends { detail?: unknown; cache_control?: unknown; uuid?: unknown }>(wire: T) {
  const { detail, cache_control, uuid, ...rest } = wire;
  return rest;
}
