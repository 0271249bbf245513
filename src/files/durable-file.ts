/**
 * @file Files that are there whole or not at all, whatever ends the process or the machine: written beside their place,
 * brought to the disk, then renamed.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, statfsSync, writeSync } from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import { VlRewardError } from "../errors.ts";
import { isSystemError } from "./system-error.ts";

/** The end of the name of what is not finished. */
export const incomplete = ".incomplete";

/** What to hold a file against later. */
export interface Written {
  readonly bytes: number;
  readonly crc32: number;
}

/**
 * Replaces the file at `target` with what `write` appends. Throws `output_unwritable` where the system refuses; then, as
 * after any error of `write`, a former file stands as it was and nothing new stays behind.
 *
 * @param bytes how many there will be, for the message on a full disk
 */
export function writeDurably(
  target: string,
  bytes: number,
  write: (append: (part: Uint8Array) => void) => void,
): Written {
  const temporary = target + incomplete;
  let written = 0;
  let checksum = 0;
  try {
    const file = openSync(temporary, "w");
    try {
      write((part) => {
        for (let done = 0; done < part.byteLength; ) done += writeSync(file, part, done);
        written += part.byteLength;
        checksum = crc32(part, checksum);
      });
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, target);
    sync(path.dirname(target));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw unwritable(target, error, bytes);
  }
  return { bytes: written, crc32: checksum };
}

/** As writeDurably, for a text that is at hand. */
export function writeTextDurably(target: string, text: string): Written {
  const bytes = Buffer.from(text);
  return writeDurably(target, bytes.byteLength, (append) => append(bytes));
}

/** Brings a file to the disk; of a folder, what was made, renamed or removed in it. */
export function sync(target: string): void {
  const descriptor = openSync(target, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Runs `body`, whose errors of the file system become `output_unwritable` with the path. */
export function writing<T>(target: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw unwritable(target, error);
  }
}

/** The disk, the user's share of it, or the largest file that is allowed. */
const full = new Map([
  ["ENOSPC", "the disk is full"],
  ["EDQUOT", "the quota is used up"],
  ["EFBIG", "the system allows no file of this size"],
]);

/**
 * -> an error of the file system as `output_unwritable` with the path; other errors as they are.
 *
 * @param needed bytes, where the system would not take so many
 */
export function unwritable(target: string, cause: unknown, needed?: number): unknown {
  if (!isSystemError(cause)) return cause;
  const reason = full.get(cause.code ?? "");
  if (!reason) {
    return new VlRewardError("output_unwritable", `${target} cannot be written: ${cause.message}.`, { cause });
  }
  const need = needed === undefined ? "" : `; it needs ${megabytes(needed)}, ${free(path.dirname(target))} are free`;
  return new VlRewardError(
    "output_unwritable",
    `${target} cannot be written: ${reason}${need}. Make room, or choose an output folder on another disk.`,
    { cause },
  );
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

function free(folder: string): string {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return megabytes(bavail * bsize);
  } catch {
    return "an unknown number"; // some file systems do not say
  }
}
