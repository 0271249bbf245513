/**
 * @file Where the bytes of pictures and videos come from: a path, a file URL, a data URL or an http(s) address, as far as
 * the policy allows it (policy.ts). Knows nothing of formats.
 */
import { readFile, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { VlRewardError } from "../errors.ts";
import { mediaName } from "./name.ts";
import { assertKindAllowed, forbidden, localPolicy, type MediaPolicy, sourceKind, tooLarge } from "./policy.ts";

/** A video is read where it lies; what came over the network or out of a data URL is in memory. */
export type MediaSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array };

export interface OpenOptions {
  /** What a relative path is relative to: the folder of the record's file. */
  readonly baseFolder: string;
  readonly signal?: AbortSignal;
  /** Default: `localPolicy`. */
  readonly policy?: MediaPolicy;
}

/** Whether a source comes over the network. */
export const isRemote = (source: string): boolean => sourceKind(source) === "address";

/**
 * Finds a source; an address is fetched, a file only looked at (its size has no limit until it is read into memory).
 * Rejects with `media_forbidden`, `media_not_found`, `media_fetch_failed`, `media_too_large` or `media_damaged` (a
 * malformed data URL); with the signal's reason when that aborts.
 */
export async function openMedia(source: string, options: OpenOptions): Promise<MediaSource> {
  const { policy = localPolicy, signal } = options;
  assertKindAllowed(source, policy);
  switch (sourceKind(source)) {
    case "address": {
      const { fetchBytes } = await import("./fetch.ts"); // with the network's modules, which files do without
      return { kind: "bytes", bytes: await fetchBytes(source, policy, signal) };
    }
    case "data":
      return { kind: "bytes", bytes: dataUrlBytes(source, policy.limits.maxBytes) };
    case "file":
      return { kind: "file", path: await findFile(source, options.baseFolder, policy) };
    case "unknown":
      throw new VlRewardError(
        "media_fetch_failed",
        `cannot read ${mediaName(source)}: expected a path, a file or data URL, or an http(s) address`,
      );
  }
}

/** The bytes of a source, wherever it is. Rejects as `openMedia` does, and with `media_too_large` for a large file. */
export async function readMedia(source: string, options: OpenOptions): Promise<Uint8Array> {
  const opened = await openMedia(source, options);
  if (opened.kind === "bytes") return opened.bytes;
  const { maxBytes } = (options.policy ?? localPolicy).limits;
  const size = await fileSize(opened.path, source);
  if (size > maxBytes) throw tooLarge(source, `${size} bytes`, maxBytes);
  try {
    return await readFile(opened.path, options.signal && { signal: options.signal });
  } catch (cause) {
    options.signal?.throwIfAborted();
    throw unreadable(source, cause);
  }
}

/** The absolute path of a file that is there; of one below a folder the real one, without symbolic links. */
async function findFile(source: string, baseFolder: string, { files }: MediaPolicy): Promise<string> {
  const written = path.resolve(baseFolder, /^file:/i.test(source) ? pathOfFileUrl(source) : source);
  const found = typeof files === "string" ? written : await pathBelow(files.below, written, source);
  await fileSize(found, source);
  return found;
}

/**
 * Follows symbolic links, those of the folder too, and compares where they end. Whoever can change folders while this runs
 * could still lead elsewhere: a policy is about what a record says, not about who writes into the folder.
 */
async function pathBelow(folder: string, written: string, source: string): Promise<string> {
  const root = await realpath(folder).catch(() => undefined);
  const { existing, failure } = await realPart(written, source);
  const way = root === undefined ? ".." : path.relative(root, existing);
  if (way === ".." || way.startsWith(`..${path.sep}`) || path.isAbsolute(way)) {
    throw forbidden(
      `${mediaName(source)} is not below ${folder}, and the media policy allows no files elsewhere`,
      "put it there, or allow another folder with --media-root or with files",
    );
  }
  if (failure) throw failure;
  return existing;
}

/** How far a path exists, and why no further: whoever may not read outside of a folder learns nothing of what is there. */
async function realPart(written: string, source: string): Promise<{ existing: string; failure?: VlRewardError }> {
  let failure: VlRewardError | undefined;
  for (let existing = written; ; existing = path.dirname(existing)) {
    try {
      return { existing: await realpath(existing), ...(failure && { failure }) };
    } catch (cause) {
      failure ??= unreadable(source, cause);
      if (!["ENOENT", "ENOTDIR", "EACCES"].includes(codeOf(cause)) || existing === path.dirname(existing))
        throw failure;
    }
  }
}

/** The size of a regular file; `source` is how the user wrote its path. */
async function fileSize(path: string, source: string): Promise<number> {
  const found = await stat(path).catch((cause: unknown) => {
    throw unreadable(source, cause);
  });
  if (found.isFile()) return found.size;
  const kind = found.isDirectory() ? "a folder" : "not a regular file";
  throw new VlRewardError("media_not_found", `${mediaName(source)} is ${kind}; expected a picture or video file`);
}

function unreadable(source: string, cause: unknown): VlRewardError {
  const code = codeOf(cause);
  const name = mediaName(source);
  const message =
    code === "ENOENT" || code === "ENOTDIR"
      ? `${name} does not exist; paths are relative to the folder of the record's file`
      : `${name} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new VlRewardError("media_not_found", message, { cause });
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "";

/** `file:///absolute`, `file://localhost/absolute`, and `file://relative` as the reference accepts it. */
function pathOfFileUrl(url: string): string {
  const encoded = url.replace(/^file:(\/\/localhost(?=\/)|\/\/)?/i, "");
  try {
    return decodeURIComponent(encoded);
  } catch (cause) {
    throw new VlRewardError(
      "media_not_found",
      `${mediaName(url)} is not a valid file URL: "%" begins an escape such as %20, and itself is written %25`,
      { cause },
    );
  }
}

/** Decodes a data URL, base64 or percent-encoded (RFC 2397). By hand: fetch takes half a second for ten megabytes. */
function dataUrlBytes(url: string, maxBytes: number): Uint8Array {
  const comma = url.indexOf(",");
  const body = url.slice(comma + 1);
  const isBase64 = /;\s*base64$/i.test(url.slice(0, comma));
  const text = isBase64 && !body.includes("%") ? body : unescapeBytes(body);
  if (comma === -1 || (isBase64 && !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text))) {
    throw new VlRewardError(
      "media_damaged",
      `${mediaName(url)} is malformed; expected data:<type>;base64,<base64> or data:<type>,<percent-encoded>`,
    );
  }
  const bytes = Buffer.from(text, isBase64 ? "base64" : "latin1");
  if (bytes.length > maxBytes) throw tooLarge(url, `${bytes.length} bytes`, maxBytes);
  return bytes;
}

/** Percent-encoded bytes, one to a character. */
function unescapeBytes(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}
