/**
 * @file A file of preferences of any length and kind: one pass finds where its records are, then any can be read in any
 * order.
 *
 * The file must not change while it is in use: the index would point into the middle of other lines, and a run that is
 * resumed would see other data than the one it continues.
 */

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { VlRewardError } from "../errors.ts";
import { decodeLine, lineTooLong, maxLineBytes } from "../files/json-lines.ts";
import { type ReadPreference, readPreference } from "./preference.ts";
import { indexRecords, type RecordIndex, readAt, unreadable } from "./preference-index.ts";

/** Records are read so many bytes at once. */
const runBytes = 4 * 2 ** 20;

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
  readonly #index: RecordIndex;

  private constructor(path: string, handle: FileHandle, version: Version, index: RecordIndex) {
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
      const index = await indexRecords(path, handle, signal);
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
      while (end < this.length && this.#endOf(end) - start <= runBytes) end++;
      yield* await this.#readRun(first, end);
      first = end;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
    if (this.#index.handle !== this.#handle) await this.#index.handle.close();
  }

  #endOf(record: number): number {
    return (this.#index.starts[record] ?? 0) + (this.#index.lengths[record] ?? 0);
  }

  /** The records from `first` to `end` with one read. */
  async #readRun(first: number, end: number): Promise<ReadPreference[]> {
    const { handle, starts, lengths, lines, errors } = this.#index;
    if ((lengths[first] ?? 0) > maxLineBytes) {
      return [{ id: lines[first] ?? 0, error: lineTooLong(maxLineBytes) }];
    }
    const from = starts[first] ?? 0;
    const bytes = await readAt(this.path, handle, from, this.#endOf(end - 1) - from);
    await this.#assertUnchanged();
    if (bytes.length < this.#endOf(end - 1) - from) throw this.#changed();
    return Array.from({ length: end - first }, (_, offset) => {
      const record = first + offset;
      const start = (starts[record] ?? 0) - from;
      const content = errors.get(record) ?? decodeLine(bytes.subarray(start, start + (lengths[record] ?? 0)));
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
