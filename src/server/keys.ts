/** @file The keys that open the server: read from a file, compared in a time that says nothing about them. */

import { createHash, timingSafeEqual } from "node:crypto";
import { VlRewardError } from "../errors.ts";
import { readRegularFile } from "../files/regular-file.ts";

interface Key {
  /** Whose it is, for logs; no part of the key. */
  readonly owner: string;
  readonly digest: Buffer;
}

const shortest = 16; // characters: what nobody guesses in the time that a request takes

export class Keys {
  readonly #keys: readonly Key[];

  private constructor(keys: readonly Key[]) {
    this.#keys = keys;
  }

  /**
   * One key a line, with a name before it where there are several owners: `alice 2f6c...`. Blank lines and those that begin with # are
   * passed over.
   *
   * @throws VlRewardError `usage` for a file that cannot be read, holds no key, or a short one
   */
  static fromFile(file: string): Keys {
    let text: string;
    try {
      text = readRegularFile(file, 2 ** 20).toString("utf8");
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new VlRewardError("usage", `--keys ${file} cannot be read: ${reason}`, { cause });
    }
    const lines = text.split(/\r?\n/).map((line) => line.trim());
    const keys = lines.flatMap((line, index) => {
      if (line === "" || line.startsWith("#")) return [];
      const words = line.split(/\s+/);
      const key = words.at(-1) ?? "";
      const where = `--keys ${file}, line ${index + 1}`;
      if (words.length > 2) throw new VlRewardError("usage", `${where}: expected a key, or a name and a key.`);
      if (key.length < shortest) {
        throw new VlRewardError("usage", `${where}: a key of ${key.length} characters; expected at least ${shortest}.`);
      }
      return [{ owner: words.length === 2 ? (words[0] ?? "") : `key-${index + 1}`, digest: digestOf(key) }];
    });
    if (keys.length === 0) throw new VlRewardError("usage", `--keys ${file} holds no key; write one a line.`);
    return new Keys(keys);
  }

  /**
   * Whose key an Authorization header holds, as Bearer or as the password of Basic; undefined for nobody's. Every key is compared,
   * by hashes of one length.
   */
  ownerOf(authorization: string | undefined): string | undefined {
    const given = digestOf(keyIn(authorization ?? ""));
    return this.#keys.reduce<string | undefined>(
      (found, { owner, digest }) => (timingSafeEqual(digest, given) ? owner : found),
      undefined,
    );
  }
}

function keyIn(authorization: string): string {
  const [scheme = "", value = ""] = authorization.trim().split(/\s+/, 2);
  if (/^bearer$/i.test(scheme)) return value;
  if (!/^basic$/i.test(scheme)) return "";
  const decoded = Buffer.from(value, "base64").toString("utf8");
  return decoded.slice(decoded.indexOf(":") + 1);
}

const digestOf = (key: string): Buffer => createHash("sha256").update(key).digest();
