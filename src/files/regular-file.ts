/**
 * @file Reading what other people put into a folder: regular files only, and no more of them than there should be. A pipe
 * would be waited for without end, a device like /dev/zero never ends, and a file of gigabytes takes the process with it.
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";

/** Why a file is not read, though the system would: a clause that follows on its name, as "it is a pipe" does. */
export class UnsuitableFile extends Error {}

/** As the message of UnsuitableFile: what there is in place of a regular file. */
function kindOf(stats: Stats): string | undefined {
  if (stats.isFile()) return undefined;
  if (stats.isDirectory()) return "it is a folder";
  if (stats.isFIFO()) return "it is a pipe";
  return stats.isSocket() ? "it is a socket" : "it is a device";
}

function assertRegular(stats: Stats): void {
  const kind = kindOf(stats);
  if (kind !== undefined) throw new UnsuitableFile(`${kind}, expected a file`);
}

/**
 * Opens a file for reading while `use` runs. Throws UnsuitableFile for what is none, links followed, and the errors of the
 * file system.
 *
 * @param use gets the descriptor and the file's bytes
 */
export function withRegularFile<T>(file: string, use: (descriptor: number, bytes: number) => T): T {
  assertRegular(statSync(file)); // before it is opened: that alone does something to some devices
  const descriptor = openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)); // Windows has no such flag
  try {
    const stats = fstatSync(descriptor);
    assertRegular(stats);
    return use(descriptor, stats.size);
  } finally {
    closeSync(descriptor);
  }
}

/** Reads a file whole. Throws UnsuitableFile where it is no regular one or larger than `maxBytes`. */
export function readRegularFile(file: string, maxBytes: number): Buffer {
  return withRegularFile(file, (descriptor, bytes) => {
    if (bytes > maxBytes)
      throw new UnsuitableFile(`it has ${inMegabytes(bytes)}, at most ${inMegabytes(maxBytes)} are read`);
    const content = Buffer.alloc(bytes);
    let done = 0;
    for (let read = -1; done < bytes && read !== 0; done += read) {
      read = readSync(descriptor, content, done, bytes - done, done);
    }
    return content.subarray(0, done);
  });
}

export const inMegabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
