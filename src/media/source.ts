/**
 * @file Where the bytes of pictures and videos come from: a path, a file URL, a data URL or an http(s) address, as far as
 * the policy allows it (policy.ts). Knows nothing of formats.
 */
import { readFile, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { VlRewardError } from "../errors.ts";
import { resemblesBase64 } from "./base64.ts";
import { base64Bytes, dataUrlBytes } from "./data-url.ts";
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

/** Characters of the longest path or address: no system opens a longer one. */
const longestPath = 65_536;

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
  const kind = sourceKind(source);
  if (kind !== "data" && kind !== "base64" && source.length > longestPath) throw absent(source);
  switch (kind) {
    case "address": {
      const { fetchBytes } = await import("./fetch.ts"); // with the network's modules, which files do without
      return { kind: "bytes", bytes: await fetchBytes(source, policy, signal) };
    }
    case "data":
      return { kind: "bytes", bytes: dataUrlBytes(source, policy.limits.maxBytes) };
    case "base64":
      return { kind: "bytes", bytes: base64Bytes(source, policy.limits.maxBytes) };
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

/**
 * The absolute path of a file that is there; of one below a folder the real one, without symbolic links. Of a file URL's
 * two readings the first one that is a file counts, and where there is none what is wrong with the last one.
 */
async function findFile(source: string, baseFolder: string, policy: MediaPolicy): Promise<string> {
  const readings = /^file:/i.test(source) ? pathsOfFileUrl(source) : [source];
  for (const reading of readings.slice(0, -1)) {
    const found = await findPath(reading, source, baseFolder, policy).catch(() => undefined);
    if (found !== undefined) return found;
  }
  return findPath(readings.at(-1) ?? source, source, baseFolder, policy);
}

async function findPath(reading: string, source: string, baseFolder: string, { files }: MediaPolicy): Promise<string> {
  const written = path.resolve(baseFolder, reading);
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
      if (
        !["ENOENT", "ENOTDIR", "EACCES", "ENAMETOOLONG"].includes(codeOf(cause)) ||
        existing === path.dirname(existing)
      )
        throw failure;
    }
  }
}

/**
 * The size of a regular file with something in it; `source` is how the user wrote its path. Others are not opened: a pipe
 * waits for a writer, and what the system shows as an empty file (/proc) may never end.
 */
async function fileSize(path: string, source: string): Promise<number> {
  const found = await stat(path).catch((cause: unknown) => {
    throw unreadable(source, cause);
  });
  if (found.isFile()) {
    if (found.size > 0) return found.size;
    throw new VlRewardError("media_damaged", `${mediaName(source)} is empty (0 bytes); expected a picture or video`);
  }
  const kind = found.isDirectory() ? "a folder" : "not a regular file";
  throw new VlRewardError("media_not_found", `${mediaName(source)} is ${kind}; expected a picture or video file`);
}

function unreadable(source: string, cause: unknown): VlRewardError {
  const code = codeOf(cause);
  if (["ENOENT", "ENOTDIR", "ENAMETOOLONG"].includes(code)) return absent(source, cause);
  return new VlRewardError("media_not_found", `${mediaName(source)} cannot be read (${code || "unknown error"})`, {
    cause,
  });
}

function absent(source: string, cause?: unknown): VlRewardError {
  const found = resemblesBase64(source)
    ? "looks like base64 and not like a path; write data:image/png;base64,… with the type that it has"
    : source.length > longestPath
      ? `has ${source.length} characters; expected a path, a file or data URL, or an http(s) address`
      : "does not exist; paths are relative to the folder of the record's file";
  return new VlRewardError("media_not_found", `${mediaName(source)} ${found}`, { cause });
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "";

/**
 * What `file:///absolute`, `file://localhost/absolute` and `file://relative` may mean, in order: the path as it stands,
 * which is how the reference opens it, then the path of a URL, where "%" begins an escape.
 */
function pathsOfFileUrl(url: string): readonly string[] {
  const raw = url.replace(/^file:(\/\/localhost(?=\/)|\/\/)?/i, "");
  try {
    const decoded = decodeURIComponent(raw);
    return decoded === raw ? [raw] : [raw, decoded];
  } catch {
    return [raw]; // a "%" that begins no escape
  }
}
