/**
 * @file Where the bytes of pictures and videos come from: a path, a file URL, a data URL or an http(s) address.
 *
 * What an address may cost is limited here (time, size, redirects). Knows nothing of formats.
 */
import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { VlRewardError } from "../errors.ts";
import { mediaName } from "./name.ts";

/** A video is read where it lies; what came over the network or out of a data URL is in memory. */
export type MediaSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array };

export interface FetchLimits {
  /** The largest file, response or data URL that is read into memory. */
  readonly maxBytes: number;
  /** From the first request, redirects included, to the last byte. */
  readonly timeoutMs: number;
  readonly maxRedirects: number;
}

export const defaultFetchLimits: FetchLimits = { maxBytes: 512 * 2 ** 20, timeoutMs: 60_000, maxRedirects: 5 };

export interface OpenOptions {
  /** What a relative path is relative to: the folder of the record's file. */
  readonly baseFolder: string;
  readonly signal?: AbortSignal;
  readonly limits?: Partial<FetchLimits>;
}

/** Whether a source comes over the network. */
export const isRemote = (source: string): boolean => /^https?:/i.test(source);

/**
 * Finds a source; an address is fetched, a file only looked at (its size has no limit until it is read into memory).
 * Rejects with `media_not_found`, `media_fetch_failed`, `media_too_large` or `media_damaged` (a malformed data URL);
 * with the signal's reason when that aborts.
 */
export async function openMedia(source: string, options: OpenOptions): Promise<MediaSource> {
  const limits = { ...defaultFetchLimits, ...options.limits };
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(source)?.[1]?.toLowerCase();
  if (isRemote(source)) {
    return { kind: "bytes", bytes: await fetchBytes(source, limits, options.signal) };
  }
  if (scheme === "data") return { kind: "bytes", bytes: dataUrlBytes(source, limits) };
  if (scheme !== "file" && source.includes("://")) {
    throw new VlRewardError(
      "media_fetch_failed",
      `cannot read ${mediaName(source)}: expected a path, a file or data URL, or an http(s) address`,
    );
  }
  const path = resolve(options.baseFolder, scheme === "file" ? pathOfFileUrl(source) : source);
  await fileSize(path, source);
  return { kind: "file", path };
}

/** The bytes of a source, wherever it is. Rejects as `openMedia` does, and with `media_too_large` for a large file. */
export async function readMedia(source: string, options: OpenOptions): Promise<Uint8Array> {
  const opened = await openMedia(source, options);
  if (opened.kind === "bytes") return opened.bytes;
  const { maxBytes } = { ...defaultFetchLimits, ...options.limits };
  const size = await fileSize(opened.path, source);
  if (size > maxBytes) throw tooLarge(source, `${size} bytes`, maxBytes);
  try {
    return await readFile(opened.path, options.signal && { signal: options.signal });
  } catch (cause) {
    options.signal?.throwIfAborted();
    throw unreadable(source, cause);
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
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const name = mediaName(source);
  const message =
    code === "ENOENT" || code === "ENOTDIR"
      ? `${name} does not exist; paths are relative to the folder of the record's file`
      : `${name} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new VlRewardError("media_not_found", message, { cause });
}

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
function dataUrlBytes(url: string, { maxBytes }: FetchLimits): Uint8Array {
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

async function fetchBytes(address: string, limits: FetchLimits, caller?: AbortSignal): Promise<Uint8Array> {
  const timeout = AbortSignal.timeout(limits.timeoutMs);
  const signal = caller === undefined ? timeout : AbortSignal.any([caller, timeout]);
  try {
    return await readBody(await followRedirects(address, limits, signal), address, limits);
  } catch (cause) {
    if (cause instanceof VlRewardError) throw cause;
    caller?.throwIfAborted();
    const reason = timeout.aborted ? `no complete answer within ${limits.timeoutMs / 1000} s` : networkReason(cause);
    throw fetchFailed(address, reason, cause);
  }
}

/** The first response that is no redirect. */
async function followRedirects(address: string, limits: FetchLimits, signal: AbortSignal): Promise<Response> {
  let url = address;
  for (let redirects = 0; redirects <= limits.maxRedirects; redirects++) {
    const response = await fetch(url, { signal, redirect: "manual" });
    const location = response.headers.get("location");
    if (location === null || ![301, 302, 303, 307, 308].includes(response.status)) return response;
    await response.body?.cancel();
    const next = new URL(location, url);
    if (!/^https?:$/.test(next.protocol)) {
      throw fetchFailed(address, `it redirects to ${mediaName(next.href)}; expected an http(s) address`);
    }
    url = next.href;
  }
  throw fetchFailed(address, `it redirects more than ${limits.maxRedirects} times`);
}

async function readBody(response: Response, address: string, { maxBytes }: FetchLimits): Promise<Uint8Array> {
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw fetchFailed(address, `the server answered ${response.status} ${response.statusText}`.trimEnd());
  }
  const announced = Number(response.headers.get("content-length") ?? 0);
  if (announced > maxBytes) {
    await response.body.cancel();
    throw tooLarge(address, `${announced} bytes`, maxBytes);
  }
  const chunks: Uint8Array[] = [];
  let received = 0;
  for await (const chunk of response.body) {
    // leaving the loop closes the connection
    received += chunk.length;
    if (received > maxBytes) throw tooLarge(address, `more than ${maxBytes} bytes`, maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, received);
}

/** What fetch knows of a failure: its own message is only "fetch failed", the reason is the cause's. */
function networkReason(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return inner instanceof Error ? inner.message : String(inner);
}

function fetchFailed(address: string, reason: string, cause?: unknown): VlRewardError {
  return new VlRewardError("media_fetch_failed", `cannot fetch ${mediaName(address)}: ${reason}`, { cause });
}

function tooLarge(source: string, found: string, maxBytes: number): VlRewardError {
  return new VlRewardError("media_too_large", `${mediaName(source)} has ${found}; the limit is ${maxBytes} bytes`);
}
