/** @file A checked file as a source: its usable records, read in any order. */

import path from "node:path";
import { PreferenceFile } from "../../data/preference-file.ts";
import { VlRewardError } from "../../errors.ts";
import { withoutOldest } from "./cut.ts";
import type { CheckedFile } from "./file-check.ts";
import type { RecordSource, SourceRecord } from "./record-source.ts";

export class FileSource implements RecordSource {
  readonly together = 1;
  readonly #checked: CheckedFile;
  readonly #file: PreferenceFile;
  readonly #closes: boolean;

  private constructor(checked: CheckedFile, file: PreferenceFile, closes: boolean) {
    this.#checked = checked;
    this.#file = file;
    this.#closes = closes;
  }

  /** Rejects with `input_unreadable` when the file is not the one that was checked. */
  static async open(checked: CheckedFile, signal?: AbortSignal): Promise<FileSource> {
    const file = await PreferenceFile.open(checked.path, signal);
    if (file.sha256 === checked.sha256) return new FileSource(checked, file, true);
    await file.close();
    const message = `${checked.path} is not what was checked: its SHA-256 is ${file.sha256}, expected ${checked.sha256}`;
    throw new VlRewardError("input_unreadable", `${message}; put it back, or start anew`);
  }

  /** Other records of the same file, which is not opened and hashed again; they can be read until this source is closed. */
  withRecords(checked: CheckedFile): FileSource {
    return new FileSource(checked, this.#file, false);
  }

  get name(): string {
    return this.#checked.path;
  }

  get length(): number {
    return this.#checked.records.length;
  }

  pairsOf(record: number): number {
    return this.#checked.pairs[record] ?? 0;
  }

  tokensOf(record: number): number {
    return this.#checked.tokens[record] ?? 0;
  }

  promptOf(record: number): number {
    return this.#checked.prompts[record] ?? 0;
  }

  /** Rejects as `PreferenceFile.read`. */
  async read(record: number): Promise<SourceRecord> {
    const index = this.#checked.records[record];
    if (index === undefined) throw new RangeError(`${this.name}: there is no record ${record} among ${this.length}`);
    const read = await this.#file.read(index);
    if ("error" in read) throw read.error;
    const prefix = withoutOldest(read.preference.prefix, this.#checked.droppedTurns[record] ?? 0);
    return { preference: { ...read.preference, prefix }, baseFolder: path.dirname(this.name) };
  }

  /** File and line, counted from 1. */
  placeOf(record: number): string {
    return `${this.name}:${this.#file.lineOf(this.#checked.records[record] ?? 0) + 1}`;
  }

  async close(): Promise<void> {
    if (this.#closes) await this.#file.close();
  }
}
