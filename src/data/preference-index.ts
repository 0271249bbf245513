/**
 * @file Where the records of a file are, so that any can be read in any order: found in one pass. In memory are 16 bytes a
 * record.
 *
 * JSON Lines and a JSON list are read where they lie. What is packed, in another encoding or a table is written as JSON Lines
 * into a temporary file that nobody else sees and that is gone with the process.
 */

import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { VlRewardError } from "../errors.ts";
import { cutShort, jsonValues } from "../files/containers/json-values.ts";
import { linesOf, sniffed } from "../files/containers/lines.ts";
import { GrowingArray } from "./growing-array.ts";

const chunkBytes = 4 * 2 ** 20;
const byteOrderMark = Buffer.from("\uFEFF");
const [newline, space, tab, carriageReturn] = [0x0a, 0x20, 0x09, 0x0d];

export interface RecordIndex {
  /** What the places below are places of: the file itself, or the temporary one. */
  readonly handle: FileHandle;
  readonly starts: Float64Array; // [records], the byte where it begins
  readonly lengths: Uint32Array; // [records], bytes, the line end not counted
  readonly lines: Uint32Array; // [records], zero-based: its line, blank ones counted, or its place in a list or table
  /** Of records that could not be unpacked: why. */
  readonly errors: ReadonlyMap<number, VlRewardError>;
  /** Of the whole file as it lies on disk, hexadecimal. */
  readonly sha256: string;
}

/** Rejects with `input_unreadable`, with the signal's reason when that aborts. */
export async function indexRecords(
  file: string,
  handle: FileHandle,
  signal: AbortSignal | undefined,
): Promise<RecordIndex> {
  const hash = createHash("sha256");
  const chunks = chunksOf(file, handle, signal, (chunk) => hash.update(chunk));
  const { kind, all } = await sniffed(chunks, file);
  const places = new Places();
  const found = { handle, errors: new Map<number, VlRewardError>() };
  if (kind === "lines") await findLines(all, places);
  else if (kind === "list" || kind === "values") await findValues(all, kind, places, found.errors);
  else {
    const unpacked = await unpackedFile(file);
    try {
      await unpack(file, handle, all, unpacked, places, found.errors);
    } catch (error) {
      await unpacked.close();
      throw error;
    }
    found.handle = unpacked;
    for await (const _ of chunks); // what a table's reader has not come by is hashed, too
  }
  return { ...found, ...places.taken(), sha256: hash.digest("hex") };
}

class Places {
  readonly #starts = new GrowingArray(Float64Array);
  readonly #lengths = new GrowingArray(Uint32Array);
  readonly #lines = new GrowingArray(Uint32Array);

  add(start: number, end: number, line: number): void {
    this.#starts.push(start);
    this.#lengths.push(Math.min(end - start, 2 ** 32 - 1));
    this.#lines.push(line);
  }

  taken() {
    return { starts: this.#starts.taken(), lengths: this.#lengths.taken(), lines: this.#lines.taken() };
  }
}

async function findLines(chunks: AsyncIterable<Uint8Array>, places: Places): Promise<void> {
  let line = 0;
  let lineStart = 0; // in the file
  let blank = true; // so far
  let position = 0;
  const finishLine = (end: number) => {
    if (!blank) places.add(lineStart, end, line);
    line++;
    lineStart = end + 1;
    blank = true;
  };
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    let from = 0;
    if (position === 0 && bytes.subarray(0, 3).equals(byteOrderMark)) {
      from = 3;
      lineStart = 3;
    }
    while (from < bytes.length) {
      const found = bytes.indexOf(newline, from);
      const end = found === -1 ? bytes.length : found;
      for (let at = from; blank && at < end; at++) blank = isBlank(bytes[at]);
      if (found !== -1) finishLine(position + end);
      from = end + 1;
    }
    position += bytes.length;
  }
  finishLine(position);
}

const isBlank = (byte: number | undefined): boolean => byte === space || byte === tab || byte === carriageReturn;

async function findValues(
  chunks: AsyncIterable<Uint8Array>,
  kind: "list" | "values",
  places: Places,
  errors: Map<number, VlRewardError>,
): Promise<void> {
  let number = 0;
  for await (const { start, end, cut } of jsonValues(chunks, kind)) {
    if (cut) errors.set(number, cutShort());
    places.add(start, end, number++);
  }
}

/** A file without a name: it takes room until it is closed. */
async function unpackedFile(file: string): Promise<FileHandle> {
  try {
    const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-"));
    const handle = await open(path.join(folder, "records.jsonl"), "wx+", 0o600);
    rmSync(folder, { recursive: true });
    return handle;
  } catch (cause) {
    throw notUnpacked(file, cause);
  }
}

async function unpack(
  file: string,
  handle: FileHandle,
  chunks: AsyncIterable<Uint8Array>,
  unpacked: FileHandle,
  places: Places,
  errors: Map<number, VlRewardError>,
): Promise<void> {
  const { size } = await handle.stat();
  const random = { size, read: (position: number, length: number) => readAt(file, handle, position, length) };
  let position = 0;
  let records = 0;
  for await (const { number, content } of linesOf({ name: file, chunks, file: random })) {
    const bytes = Buffer.from(typeof content === "string" ? content : "");
    if (typeof content !== "string") errors.set(records, content);
    await unpacked.write(bytes, 0, bytes.length, position).catch((cause: unknown) => {
      throw notUnpacked(file, cause);
    });
    places.add(position, position + bytes.length, number);
    position += bytes.length;
    records++;
  }
}

async function* chunksOf(
  file: string,
  handle: FileHandle,
  signal: AbortSignal | undefined,
  onChunk: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for (let position = 0; ; ) {
    signal?.throwIfAborted();
    const chunk = await readAt(file, handle, position, chunkBytes);
    if (chunk.length === 0) return;
    position += chunk.length;
    onChunk(chunk);
    yield chunk;
  }
}

/** As many bytes as there are from `position` on, up to `length`. Rejects with `input_unreadable`. */
export async function readAt(file: string, handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, position + filled).catch((cause) => {
      throw unreadable(file, cause);
    });
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

export function unreadable(file: string, cause: unknown): VlRewardError {
  return new VlRewardError("input_unreadable", `${file} cannot be read: ${reasonOf(cause)}`, { cause });
}

const notUnpacked = (file: string, cause: unknown): VlRewardError =>
  new VlRewardError("input_unreadable", `${file} cannot be unpacked into ${tmpdir()} (TMPDIR): ${reasonOf(cause)}`, {
    cause,
  });

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
