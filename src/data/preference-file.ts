/**
 * @file A file of preferences of any length: one pass finds where its lines begin, then any record can be read in any
 * order. In memory are 16 bytes a record. Blank lines are no records, but counted.
 *
 * The file must not change while it is in use: the index would point into the middle of other lines, and a run that is
 * resumed would see other data than the one it continues.
 */

import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { VlRewardError } from "../errors.ts";
import { decodeLine, lineTooLong, maxLineBytes } from "../files/json-lines.ts";
import { GrowingArray } from "./growing-array.ts";
import { type ReadPreference, readPreference } from "./preference.ts";

const chunkBytes = 4 * 2 ** 20;
const byteOrderMark = Buffer.from("\uFEFF");
const [newline, space, tab, carriageReturn] = [0x0a, 0x20, 0x09, 0x0d];

interface Index {
  readonly starts: Float64Array; // [records], the byte where its line begins
  readonly lengths: Uint32Array; // [records], bytes, the line end not counted
  readonly lines: Uint32Array; // [records], zero-based, blank lines counted
  readonly sha256: string;
}

interface Version {
  readonly size: number;
  readonly mtimeMs: number;
}

export class PreferenceFile {
  readonly path: string;
  /** Of the whole file, hexadecimal. */
  readonly sha256: string;
  readonly #handle: FileHandle;
  readonly #version: Version;
  readonly #index: Index;

  private constructor(path: string, handle: FileHandle, version: Version, index: Index) {
    this.path = path;
    this.sha256 = index.sha256;
    this.#handle = handle;
    this.#version = version;
    this.#index = index;
  }

  /** Reads the file once, about a gigabyte a second. Rejects with `input_unreadable`, with the signal's reason when that aborts. */
  static async open(path: string, signal?: AbortSignal): Promise<PreferenceFile> {
    // Without the flag a pipe would be waited for without end; Windows has none.
    const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch((cause: unknown) => {
      throw unreadable(path, cause);
    });
    try {
      const version = await handle.stat();
      if (!version.isFile()) throw new VlRewardError("input_unreadable", `${path} is not a regular file`);
      const index = await readIndex(path, handle, signal);
      const file = new PreferenceFile(path, handle, { size: version.size, mtimeMs: version.mtimeMs }, index);
      await file.#assertUnchanged();
      return file;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get length(): number {
    return this.#index.starts.length;
  }

  /** The zero-based line of a record, blank ones counted. */
  lineOf(record: number): number {
    return this.#index.lines[record] ?? 0;
  }

  /** Bytes from the beginning of the file to the end of a record, and of the whole file: for progress. */
  endOf(record: number): number {
    return (this.#index.starts[record] ?? 0) + (this.#index.lengths[record] ?? 0);
  }

  get bytes(): number {
    return this.#version.size;
  }

  /** One record. Rejects with `input_unreadable` when the file has changed since it was opened. */
  async read(record: number): Promise<ReadPreference> {
    if (!(Number.isInteger(record) && record >= 0 && record < this.length)) {
      throw new RangeError(`${this.path}: no record ${record} among ${this.length}`);
    }
    const [result] = await this.#readRun(record, record + 1);
    if (!result) throw this.#changed();
    return result;
  }

  /** All records in the file's order; as `read`. */
  async *records(signal?: AbortSignal): AsyncGenerator<ReadPreference, void, undefined> {
    for (let first = 0; first < this.length; ) {
      signal?.throwIfAborted();
      const start = this.#index.starts[first] ?? 0;
      let end = first + 1;
      while (end < this.length && this.endOf(end) - start <= chunkBytes) end++;
      yield* await this.#readRun(first, end);
      first = end;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** The records from `first` to `end` with one read. */
  async #readRun(first: number, end: number): Promise<ReadPreference[]> {
    const { starts, lengths, lines } = this.#index;
    if ((lengths[first] ?? 0) > maxLineBytes) {
      return [{ id: lines[first] ?? 0, error: lineTooLong(maxLineBytes) }];
    }
    const from = starts[first] ?? 0;
    const bytes = Buffer.allocUnsafe(this.endOf(end - 1) - from);
    const filled = await fill(this.path, this.#handle, bytes, from);
    await this.#assertUnchanged();
    if (filled < bytes.length) throw this.#changed();
    return Array.from({ length: end - first }, (_, offset) => {
      const record = first + offset;
      const start = (starts[record] ?? 0) - from;
      const content = decodeLine(bytes.subarray(start, start + (lengths[record] ?? 0)));
      const line = lines[record] ?? 0;
      return typeof content === "string" ? readPreference(content, line) : { id: line, error: content };
    });
  }

  async #assertUnchanged(): Promise<void> {
    const { size, mtimeMs } = await this.#handle.stat();
    if (size !== this.#version.size || mtimeMs !== this.#version.mtimeMs) throw this.#changed();
  }

  #changed(): VlRewardError {
    return new VlRewardError(
      "input_unreadable",
      `${this.path} was changed while it was in use; leave it as it is while training runs, and start again`,
    );
  }
}

async function readIndex(path: string, handle: FileHandle, signal: AbortSignal | undefined): Promise<Index> {
  const hash = createHash("sha256");
  const [starts, lengths, lines] = [
    new GrowingArray(Float64Array),
    new GrowingArray(Uint32Array),
    new GrowingArray(Uint32Array),
  ];
  const chunk = Buffer.allocUnsafe(chunkBytes);
  let line = 0;
  let lineStart = 0; // in the file
  let blank = true; // so far
  const finishLine = (end: number) => {
    if (!blank) {
      starts.push(lineStart);
      lengths.push(Math.min(end - lineStart, 2 ** 32 - 1));
      lines.push(line);
    }
    line++;
    lineStart = end + 1;
    blank = true;
  };
  let position = 0;
  for (;;) {
    signal?.throwIfAborted();
    const read = await fill(path, handle, chunk, position);
    if (read === 0) break;
    const bytes = chunk.subarray(0, read);
    hash.update(bytes);
    let from = 0;
    if (position === 0 && bytes.subarray(0, 3).equals(byteOrderMark)) {
      from = 3;
      lineStart = 3;
    }
    while (from < read) {
      const found = bytes.indexOf(newline, from);
      const end = found === -1 ? read : found;
      for (let at = from; blank && at < end; at++) blank = isBlank(bytes[at]);
      if (found !== -1) finishLine(position + end);
      from = end + 1;
    }
    position += read;
  }
  finishLine(position);
  return { starts: starts.taken(), lengths: lengths.taken(), lines: lines.taken(), sha256: hash.digest("hex") };
}

const isBlank = (byte: number | undefined): boolean => byte === space || byte === tab || byte === carriageReturn;

/** As many bytes as there are from `position` on, up to the buffer's length. */
async function fill(path: string, handle: FileHandle, buffer: Buffer, position: number): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await handle
      .read(buffer, filled, buffer.length - filled, position + filled)
      .catch((cause) => {
        throw unreadable(path, cause);
      });
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

function unreadable(path: string, cause: unknown): VlRewardError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new VlRewardError("input_unreadable", `${path} cannot be read: ${reason}`, { cause });
}
