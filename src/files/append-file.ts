/**
 * @file A log that grows by whole records and never ends in half of one: a write that fails is taken back.
 *
 * Appends are synchronous: a record is with the system when the call returns, so it outlives the process, also by
 * `kill -9`. It outlives the machine after `sync`. A file that is no longer where it was opened takes no more records: they
 * would go where nobody looks for them.
 */
import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync, statSync, writeSync } from "node:fs";
import { VlRewardError } from "../errors.ts";
import { writing } from "./durable-file.ts";

export class AppendFile {
  readonly #fd: number;
  readonly #path: string;
  #size: number;

  private constructor(path: string, fd: number, size: number) {
    this.#path = path;
    this.#fd = fd;
    this.#size = size;
  }

  /**
   * @param size how many of the file's bytes to keep: the rest is cut away
   * @throws VlRewardError `output_unwritable`
   */
  static open(path: string, size: number): AppendFile {
    return writing(path, () => {
      // A pipe that nobody reads would be waited for without end; Windows has no such flag.
      const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | (constants.O_NONBLOCK ?? 0), 0o666);
      try {
        if (fstatSync(fd).size > size) ftruncateSync(fd, size);
        return new AppendFile(path, fd, size);
      } catch (error) {
        closeSync(fd);
        throw error;
      }
    });
  }

  /**
   * @throws VlRewardError `output_unwritable`, as when the disk is full: the file then ends as before; or when it was deleted,
   *   moved or replaced since it was opened
   */
  append(record: Uint8Array): void {
    writing(this.#path, () => {
      this.#assertInPlace();
      try {
        for (let written = 0; written < record.length; ) {
          written += writeSync(this.#fd, record, written, record.length - written, this.#size + written);
        }
      } catch (error) {
        if (fstatSync(this.#fd).size > this.#size) ftruncateSync(this.#fd, this.#size);
        throw error;
      }
      this.#size += record.length;
    });
  }

  /** Returns when the bytes are on the disk. Throws VlRewardError `output_unwritable`. */
  sync(): void {
    writing(this.#path, () => fsyncSync(this.#fd));
  }

  #assertInPlace(): void {
    const [own, there] = [fstatSync(this.#fd), statSync(this.#path, { throwIfNoEntry: false })];
    if (there?.ino === own.ino && there.dev === own.dev) return;
    const what = there ? "replaced by another file" : "deleted or moved away";
    throw new VlRewardError("output_unwritable", `${this.#path} was ${what} while it was being written.`);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
