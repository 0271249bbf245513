/**
 * @file Files of a run, opened before a model is loaded so that a wrong path fails at once, and written line by line.
 */

import { closeSync, constants, existsSync, fstatSync, ftruncateSync, openSync, rmSync, write } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { VlRewardError } from "../errors.ts";

/**
 * @param path a file, or - for standard input
 * @throws VlRewardError `input_unreadable`
 */
export function openInput(path: string): number {
  const fd =
    path === "-" ? 0 : attempt("input_unreadable", `The input ${path} cannot be read`, () => openSync(path, "r"));
  if (!fstatSync(fd).isDirectory()) return fd;
  throw new VlRewardError("input_unreadable", `The input ${path} is a folder; expected a JSON Lines file.`);
}

/** An input that could be opened but not read to its end. */
export function unreadable(cause: unknown): VlRewardError {
  return new VlRewardError("input_unreadable", `The input cannot be read: ${reason(cause)}.`, { cause });
}

/** A file that will be written; what it held before stays until it is emptied. */
export class OutputFile {
  readonly fd: number;
  readonly #path: string | undefined;

  /**
   * @param how lines are appended; what is written at places of its own has to be a regular file
   * @throws VlRewardError `output_unwritable`, also for a file that is already one of the `others` of this run
   */
  static open(path: string, others: readonly number[], how: "lines" | "places" = "lines"): OutputFile {
    const existed = existsSync(path);
    const append = how === "lines" ? constants.O_APPEND : 0;
    const fd = attempt("output_unwritable", `The output ${path} cannot be written`, () =>
      openSync(path, constants.O_WRONLY | constants.O_CREAT | append, 0o666),
    );
    if (how === "places" && !fstatSync(fd).isFile()) {
      throw new VlRewardError("output_unwritable", `The output ${path} is no regular file; this format needs one.`);
    }
    const { dev, ino } = fstatSync(fd);
    for (const other of others.map((fd) => fstatSync(fd)).filter((stat) => stat.isFile())) {
      if (other.dev !== dev || other.ino !== ino) continue;
      throw new VlRewardError("output_unwritable", `The output ${path} is another file of this run; name a new one.`);
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

function attempt<T>(code: "input_unreadable" | "output_unwritable", what: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw new VlRewardError(code, `${what}: ${reason(error)}.`, { cause: error });
  }
}

/** "no such file or directory" out of "ENOENT: no such file or directory, open 'x'". */
function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return /^[A-Z0-9]+: (.*), \w+/.exec(message)?.[1] ?? message;
}
