/**
 * @file A download in the making: `blobs/<etag>.incomplete`, its length and the checksum of its bytes.
 *
 * The hub names a file by its checksum: sha256 for large files (Git LFS), git's blob hash for small ones.
 */
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** A file as the hub publishes it: the checksum that names it, and its size in bytes. */
export interface PublishedFile {
  readonly name: string;
  readonly etag: string;
  readonly size: number;
}

/** A file that grows by appending, with the checksum of all its bytes. It stays on disk when it is closed. */
export class PartialFile {
  readonly #handle: FileHandle;
  readonly #file: PublishedFile;
  #hash: Hash | undefined;
  #size = 0;

  private constructor(handle: FileHandle, file: PublishedFile) {
    this.#handle = handle;
    this.#file = file;
    this.#hash = newHash(file);
  }

  /** Opens what an earlier run left, or an empty file; what is longer than the published file is no part of it. */
  static async open(path: string, file: PublishedFile): Promise<PartialFile> {
    const partial = new PartialFile(await open(path, constants.O_RDWR | constants.O_CREAT), file);
    try {
      const { size } = await partial.#handle.stat();
      if (size > file.size) {
        await partial.restart();
      } else if (size > 0) {
        const earlier = partial.#handle.createReadStream({ start: 0, end: size - 1, autoClose: false });
        for await (const chunk of earlier) {
          partial.#hash?.update(chunk);
        }
        partial.#size = size;
      }
      return partial;
    } catch (error) {
      await partial.close();
      throw error;
    }
  }

  get size(): number {
    return this.#size;
  }

  async append(chunk: Uint8Array): Promise<void> {
    for (let written = 0; written < chunk.length; ) {
      const rest = chunk.length - written;
      const { bytesWritten } = await this.#handle.write(chunk, written, rest, this.#size + written);
      written += bytesWritten;
    }
    this.#size += chunk.length;
    this.#hash?.update(chunk);
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#size = 0;
    this.#hash = newHash(this.#file);
  }

  /** The checksum in the form of the etag; the etag itself where a server names its files by something else. */
  checksum(): string {
    return this.#hash?.copy().digest("hex") ?? this.#file.etag;
  }

  sync(): Promise<void> {
    return this.#handle.sync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** sha256 of the bytes for an etag of 64 hex digits, git's blob hash for one of 40; undefined for other etags. */
function newHash({ etag, size }: PublishedFile): Hash | undefined {
  if (/^[0-9a-f]{64}$/.test(etag)) {
    return createHash("sha256");
  }
  return /^[0-9a-f]{40}$/.test(etag) ? createHash("sha1").update(`blob ${size}\0`) : undefined;
}
