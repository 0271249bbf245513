/**
 * @file A file has records of one format. What looks like another one in the middle is a file that was put together by mistake, or
 * a record that is taken for what it is not, and is said rather than read.
 */

import { VlRewardError } from "../errors.ts";
import { mayStandAmong } from "./formats/formats.ts";
import type { RecordId } from "./record-line.ts";

/** What a reader of lines returns: a record and its format, or why there is none. */
type Read =
  | { readonly id: RecordId; readonly format: string }
  | { readonly id: RecordId; readonly error: VlRewardError };

export class OneFormat {
  #first: { readonly format: string; readonly line: number } | undefined;

  /** The one that all records so far have or may stand among; undefined before the first that could be read. */
  get format(): string | undefined {
    return this.#first?.format;
  }

  /**
   * To be called with the records of a file in their order.
   *
   * @param line zero-based
   */
  check<R extends Read>(read: R, line: number): R | { readonly id: RecordId; readonly error: VlRewardError } {
    if ("error" in read) return read;
    this.#first ??= { format: read.format, line };
    const { format, line: first } = this.#first;
    if (read.format === format || mayStandAmong(read.format).includes(format)) return read;
    if (mayStandAmong(format).includes(read.format)) {
      this.#first = { format: read.format, line };
      return read;
    }
    const message =
      `this record is of the format "${read.format}", but the file's first one (line ${first + 1}) is of the format "${format}": ` +
      "a file has records of one format; put the others into a file of their own";
    return { id: read.id, error: new VlRewardError("invalid_record", message) };
  }
}
