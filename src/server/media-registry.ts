/**
 * @file Pictures and videos that a client has sent once, to be named by their hash in any number of requests. They lie in a folder
 * under the SHA-256 of their bytes, which several processes may share; when it is full, those that were used longest ago go.
 */

import { createHash, randomUUID } from "node:crypto";
import { createWriteStream, mkdirSync } from "node:fs";
import { open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { VlRewardError } from "../errors.ts";
import { imageFormatOf, headLength as imageHead } from "../media/image-format.ts";
import { containerOf, headLength as videoHead } from "../media/video-container.ts";

export interface Registered {
  /** media:sha256: and 64 hexadecimal digits. */
  readonly id: string;
  readonly kind: "image" | "video";
  readonly bytes: number;
}

export interface RegistryLimits {
  /** Of one picture or video. */
  readonly maxBytes: number;
  /** Of all together. */
  readonly maxTotalBytes: number;
}

const prefix = "media:sha256:";
const named = /^media:sha256:([0-9a-f]{64})$/;
const stored = /^[0-9a-f]{64}\.(image|video)$/;
const incoming = ".incoming-";

export class MediaRegistry {
  readonly folder: string;
  readonly limits: RegistryLimits;
  /** What may have been added since the folder was last looked through, by this process. */
  #unswept = Number.POSITIVE_INFINITY;
  #sweeping: Promise<void> | undefined;

  /** Makes the folder where it is missing. Throws a system error where that fails. */
  constructor(folder: string, limits: RegistryLimits) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.folder = folder;
    this.limits = limits;
  }

  /**
   * Keeps what a stream holds. Rejects with `media_too_large`, `media_unknown_format` or `media_damaged` (nothing in it), and where
   * the stream does.
   */
  async add(source: AsyncIterable<Uint8Array>): Promise<Registered> {
    const { maxBytes } = this.limits;
    const partial = join(this.folder, `${incoming}${randomUUID()}`);
    const hash = createHash("sha256");
    let bytes = 0;
    try {
      const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          bytes += chunk.length;
          if (bytes > maxBytes) {
            throw new VlRewardError(
              "media_too_large",
              `the upload has more than ${maxBytes} bytes, the limit of one file`,
            );
          }
          hash.update(chunk);
          yield chunk;
        }
      };
      await pipeline(Readable.from(source), counted, createWriteStream(partial, { flags: "wx", mode: 0o600 }));
      if (bytes === 0)
        throw new VlRewardError("media_damaged", "the upload is empty (0 bytes); expected a picture or video");
      const kind = await kindOf(partial);
      const digest = hash.digest("hex");
      await rename(partial, join(this.folder, `${digest}.${kind}`));
      this.#unswept += bytes;
      await this.#sweep();
      return { id: `${prefix}${digest}`, kind, bytes };
    } finally {
      await rm(partial, { force: true });
    }
  }

  /**
   * The file of a registered picture or video, which counts as used now; undefined for a source that names none of this registry's
   * kind. Rejects with `media_not_found` for one that is not registered (any more).
   */
  async find(source: string): Promise<{ readonly path: string; readonly kind: Registered["kind"] } | undefined> {
    if (!source.startsWith("media:")) return undefined;
    const digest = named.exec(source)?.[1];
    if (digest === undefined) {
      throw new VlRewardError(
        "media_not_found",
        "a registered picture is named media:sha256: and 64 hexadecimal digits",
      );
    }
    for (const kind of ["image", "video"] as const) {
      const path = join(this.folder, `${digest}.${kind}`);
      const found = await stat(path).catch(() => undefined);
      if (found === undefined) continue;
      await utimes(path, new Date(), found.mtime).catch(() => {}); // not the other time: caches know a file by it
      return { path, kind };
    }
    const advice = "register it (again) with POST /v1/media: those that were not used for long make room for others";
    throw new VlRewardError("media_not_found", `${source} is not registered; ${advice}`);
  }

  /** Makes room where there may be too much; one process looks through the folder at a time. */
  async #sweep(): Promise<void> {
    if (this.#unswept < this.limits.maxTotalBytes / 16) return;
    this.#sweeping ??= this.#removeOldest().finally(() => {
      this.#sweeping = undefined;
    });
    await this.#sweeping;
  }

  async #removeOldest(): Promise<void> {
    this.#unswept = 0;
    const names = (await readdir(this.folder)).filter((name) => stored.test(name) || name.startsWith(incoming));
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(this.folder, name);
        const found = await stat(path).catch(() => undefined);
        return { path, isPartial: !stored.test(name), used: found?.atimeMs ?? 0, bytes: found?.size ?? 0 };
      }),
    );
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    const anHourAgo = Date.now() - 3_600_000;
    for (const { path, isPartial, used, bytes } of files.sort((a, b) => a.used - b.used)) {
      const isLeft = isPartial && used < anHourAgo; // of a process that was killed
      if (total <= this.limits.maxTotalBytes && !isLeft) continue;
      if (isPartial && !isLeft) continue;
      await rm(path, { force: true });
      total -= bytes;
    }
  }
}

/** By the first bytes, as everywhere. A GIF or animated WebP counts as a picture. */
async function kindOf(path: string): Promise<Registered["kind"]> {
  const file = await open(path);
  try {
    const head = Buffer.alloc(Math.max(imageHead, videoHead));
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    const bytes = head.subarray(0, bytesRead);
    try {
      imageFormatOf(bytes, "the upload");
      return "image";
    } catch (error) {
      if (containerOf(bytes.subarray(0, videoHead)) !== undefined) return "video";
      throw error;
    }
  } finally {
    await file.close();
  }
}
