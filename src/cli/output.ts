/**
 * @file What a run writes, opened before a model is loaded so that a wrong path fails at once, and written line by line.
 */

import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  rmSync,
  type Stats,
  statSync,
  write,
} from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { VlRewardError } from "../errors.ts";

/** A file that will be written; what it held before stays until it is emptied. */
export class OutputFile {
  readonly fd: number;
  readonly #path: string | undefined;

  /**
   * @param others what the run reads, and writes elsewhere
   * @param how lines are appended; what is written at places of its own has to be a regular file
   * @throws VlRewardError `output_unwritable`, also for a file that is one of the `others`
   */
  static open(path: string, others: readonly Stats[], how: "lines" | "places" = "lines"): OutputFile {
    const existed = existsSync(path);
    const fd = openForWriting(path, how === "lines" ? constants.O_APPEND : 0);
    const stats = fstatSync(fd);
    const refuse = (why: string): never => {
      closeSync(fd);
      throw new VlRewardError("output_unwritable", `The output ${path} ${why}`);
    };
    if (how === "places" && !stats.isFile()) refuse("is no regular file; this format needs one.");
    if (stats.isBlockDevice()) refuse("is a disk; expected a file.");
    for (const other of others.filter((stats) => stats.isFile())) {
      if (other.dev === stats.dev && other.ino === stats.ino) refuse("is another file of this run; name a new one.");
    }
    return new OutputFile(fd, existed ? undefined : path);
  }

  /** @param created the path, when opening made the file */
  private constructor(fd: number, created: string | undefined) {
    this.fd = fd;
    this.#path = created;
  }

  /** Removes the file if this run made it and nothing stands in it. */
  discardEmpty(): void {
    if (this.#path === undefined || fstatSync(this.fd).size > 0) return;
    closeSync(this.fd);
    rmSync(this.#path, { force: true });
  }
}

/**
 * Refuses now what could not be written at the end of a run. Nothing is left behind.
 *
 * @throws VlRewardError `output_unwritable`
 */
export function checkOutput(path: string): void {
  const existed = existsSync(path);
  const fd = openForWriting(path, 0);
  const isFile = fstatSync(fd).isFile();
  closeSync(fd);
  if (!existed) rmSync(path, { force: true });
  if (!isFile) throw new VlRewardError("output_unwritable", `The output ${path} is no regular file; name another one.`);
}

/** Empties a file that is about to be written; a pipe or a terminal has nothing to empty. */
export function emptyFile(fd: number): void {
  if (fstatSync(fd).isFile()) ftruncateSync(fd);
}

/** Whoever read the output has closed it, as `head` does. */
export class ReaderGone extends Error {}

const writeBytes = promisify(write);

/**
 * Writes a whole line; resolves when the system has it. A run that is interrupted waits for that, so that whole lines
 * stand in its output. While a pipe's reader is slow, the thread stays free.
 *
 * Rejects with ReaderGone, or VlRewardError `output_unwritable`, as when the disk is full.
 */
export async function writeLine(fd: number, line: string): Promise<void> {
  const bytes = Buffer.from(line, "utf8");
  for (let written = 0; written < bytes.length; ) {
    try {
      written += (await writeBytes(fd, bytes, written)).bytesWritten;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EPIPE") throw new ReaderGone();
      if (code !== "EAGAIN") {
        throw new VlRewardError("output_unwritable", `The output cannot be written: ${reason(error)}.`, {
          cause: error,
        });
      }
      await sleep(10); // a pipe that another program has set to non-blocking is full
    }
  }
}

/**
 * A named pipe is opened only where somebody reads it: the system would wait for a reader for ever.
 *
 * @throws VlRewardError `output_unwritable`
 */
function openForWriting(path: string, flags: number): number {
  const before = statSync(path, { throwIfNoEntry: false });
  const isPipe = before?.isFIFO() === true;
  const what = `The output ${path} cannot be written`;
  if (before?.isDirectory())
    throw new VlRewardError("output_unwritable", `${what}: it is a folder; name a file in it.`);
  try {
    return openSync(path, constants.O_WRONLY | (isPipe ? constants.O_NONBLOCK : constants.O_CREAT) | flags, 0o666);
  } catch (error) {
    throw new VlRewardError("output_unwritable", `${what}: ${reason(error)}${hint(error, path)}.`, { cause: error });
  }
}

/** What the system's words leave open. */
function hint(error: unknown, path: string): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENXIO") return "; it is a named pipe or a socket that nobody reads";
  if (code !== "ENOENT") return "";
  const folder = dirname(path);
  return existsSync(folder) ? `; no file can be made in ${folder}` : `; there is no folder ${folder}`;
}

/** @throws VlRewardError what the system says, after `what` */
export function attempt<T>(code: "input_unreadable" | "output_unwritable", what: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw new VlRewardError(code, `${what}: ${reason(error)}.`, { cause: error });
  }
}

/** "no such file or directory" out of "ENOENT: no such file or directory, open 'x'". */
export function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return /^[A-Z0-9]+: (.*), \w+/.exec(message)?.[1] ?? message;
}
