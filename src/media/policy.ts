/**
 * @file What a record may have read: which files, which addresses, how much. A record is data, perhaps from a stranger,
 * and the paths and addresses in it are opened by whoever scores it.
 *
 * A policy is plain data and crosses threads. What can be told from the record alone is judged here; source.ts judges
 * where a path leads, public-address.ts where an address does.
 */
import type { ImagePart, VideoPart } from "../conversation.ts";
import { quote, VlRewardError } from "../errors.ts";
import { isBase64Picture } from "./base64.ts";
import { mediaName } from "./name.ts";

export interface MediaPolicy {
  /** Files by a path or a file URL: all that can be read, those in one folder and the folders in it, or none. */
  readonly files: "anywhere" | { readonly below: string } | "none";
  /**
   * http(s) addresses, redirects included: any, those of public servers only, those of some hosts (with a port where it is not the
   * scheme's own), wherever these are, or none.
   */
  readonly addresses: "any" | "public" | "none" | { readonly hosts: readonly string[] };
  readonly dataUrls: boolean;
  readonly limits: MediaLimits;
}

export interface MediaLimits {
  /** The largest file, answer or data URL that is read into memory. A video file is read where it lies. */
  readonly maxBytes: number;
  /** Of a picture or a video's frame, before it is decoded. */
  readonly maxPixels: number;
  /** Of one prompt with all its answers; the frames of a video that is a list of them are pictures. */
  readonly maxPictures: number;
  readonly maxVideos: number;
  /** That are taken of one video, by its `fps` and length, or its `nframes`. */
  readonly maxFrames: number;
  /** For reading a video's index, and for decoding its frames: a file may be long, and its frames far from each other. */
  readonly decodeSeconds: number;
  /** For one address: from the first request, redirects included, to the last byte. */
  readonly fetchSeconds: number;
  readonly maxRedirects: number;
}

/** For records of whoever runs the program: all that this person may read. */
export const localPolicy: MediaPolicy = {
  files: "anywhere",
  addresses: "any",
  dataUrls: true,
  limits: {
    maxBytes: 512 * 2 ** 20,
    maxPixels: 178_956_970, // above this Pillow refuses a picture as a decompression bomb
    maxPictures: Number.POSITIVE_INFINITY,
    maxVideos: Number.POSITIVE_INFINITY,
    maxFrames: Number.POSITIVE_INFINITY,
    decodeSeconds: Number.POSITIVE_INFINITY,
    fetchSeconds: 60,
    maxRedirects: 5,
  },
};

/** For records of strangers: no file of this machine, nothing in its network, and little of everything. */
export const serverPolicy: MediaPolicy = {
  files: "none",
  addresses: "public",
  dataUrls: true,
  limits: {
    maxBytes: 32 * 2 ** 20,
    maxPixels: 40_000_000,
    maxPictures: 64,
    maxVideos: 4,
    maxFrames: 768, // what the reference takes at most unless it is told otherwise
    decodeSeconds: 60,
    fetchSeconds: 15,
    maxRedirects: 3,
  },
};

/** How a source is written; "base64" stands without the beginning of a data URL, "unknown" has a scheme that nothing reads. */
export function sourceKind(source: string): "address" | "data" | "base64" | "file" | "unknown" {
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(source)?.[1]?.toLowerCase();
  if (scheme === "http" || scheme === "https") return "address";
  if (scheme === "data") return "data";
  if (scheme === undefined && isBase64Picture(source)) return "base64";
  return scheme !== "file" && source.includes("://") ? "unknown" : "file";
}

/** Throws `media_forbidden` for a source of a kind that the policy has none of. */
export function assertKindAllowed(source: string, { files, addresses, dataUrls }: MediaPolicy): void {
  const kind = sourceKind(source);
  const name = mediaName(source);
  if (kind === "address" && addresses === "none") {
    throw forbidden(
      `${name} is an address, and the media policy allows none`,
      'leave --no-network away, or set addresses to "public" or "any"',
    );
  }
  if (kind === "address" && typeof addresses === "object") assertHostAllowed(source, name, addresses.hosts);
  if ((kind === "data" || kind === "base64") && !dataUrls) {
    throw forbidden(`${name}: the media policy allows no data URLs`, "set dataUrls to true");
  }
  if (kind === "file" && files === "none") {
    throw forbidden(
      `${name} is a file, and the media policy allows none`,
      'send it as a data URL, or set files to "anywhere" or to { below: folder }',
    );
  }
}

/**
 * Throws `media_forbidden` for an address of another host.
 *
 * @param name what an error calls it
 */
export function assertHostAllowed(address: string, name: string, hosts: readonly string[]): void {
  const host = URL.canParse(address) ? new URL(address).host : "";
  if (hosts.includes(host)) return;
  throw forbidden(
    `${name} is on the host ${quote(host)}, and the media policy allows ${hosts.join(", ")}`,
    "send it as a data URL, or allow that host",
  );
}

/**
 * Judges the pictures and videos of one prompt with all its answers before any is read: their number and their kinds.
 * Throws `media_forbidden`.
 */
export function assertMediaAllowed(parts: readonly (ImagePart | VideoPart)[], policy: MediaPolicy): void {
  const { maxPictures, maxVideos } = policy.limits;
  const videos = parts.filter((part) => part.type === "video");
  const frames = videos.flatMap(({ video }) => (typeof video === "string" ? [] : video));
  const pictures = parts.flatMap((part) => (part.type === "image" ? [part.image] : []));
  const counts = [
    { found: pictures.length + frames.length, most: maxPictures, things: "pictures and frames", key: "maxPictures" },
    { found: videos.length, most: maxVideos, things: "videos", key: "maxVideos" },
  ];
  for (const { found, most, things, key } of counts) {
    if (found <= most) continue;
    throw forbidden(`there are ${found} ${things}, and the media policy allows ${most}`, `send fewer, or raise ${key}`);
  }
  for (const source of [...pictures, ...videos.flatMap(({ video }) => video)]) assertKindAllowed(source, policy);
}

/** @param remedy what allows it, or does without */
export const forbidden = (found: string, remedy: string): VlRewardError =>
  new VlRewardError("media_forbidden", `${found}; ${remedy}`);

/** More than the limit of a policy. `found` says how much of it there is. */
export function tooLarge(source: string, found: string, maxBytes: number): VlRewardError {
  return new VlRewardError("media_too_large", `${mediaName(source)} has ${found}; the limit is ${maxBytes} bytes`);
}
