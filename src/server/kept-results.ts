/**
 * @file Results that are kept for a while under a hash of what was asked: a client that gave up waiting comes back with the same body,
 * and finds what was computed meanwhile.
 */

import { createHash } from "node:crypto";
import type { Group, ReadResult } from "../engine/group.ts";
import type { ReadRequest } from "../engine/read/reader.ts";

export type Success = Exclude<ReadResult, { readonly error: unknown }>;

export class KeptResults {
  readonly #maxBytes: number;
  readonly #milliseconds: number;
  /** In the order of their use, the last one last. */
  readonly #kept = new Map<string, { readonly result: Success; readonly bytes: number; readonly until: number }>();
  #bytes = 0;

  /** @param seconds that a result is kept at most, from when it was computed */
  constructor(maxBytes: number, seconds: number) {
    this.#maxBytes = maxBytes;
    this.#milliseconds = 1000 * seconds;
  }

  get size(): { readonly results: number; readonly bytes: number } {
    return { results: this.#kept.size, bytes: this.#bytes };
  }

  get(key: string): Success | undefined {
    const found = this.#kept.get(key);
    if (found === undefined) return undefined;
    this.#forget(key, found.bytes);
    if (found.until < Date.now()) return undefined;
    this.#kept.set(key, found);
    this.#bytes += found.bytes;
    return found.result;
  }

  set(key: string, result: Success): void {
    const old = this.#kept.get(key);
    if (old !== undefined) this.#forget(key, old.bytes);
    const bytes = sizeOf(result);
    this.#kept.set(key, { result, bytes, until: Date.now() + this.#milliseconds });
    this.#bytes += bytes;
    for (const [oldest, { bytes }] of this.#kept) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#forget(oldest, bytes);
    }
  }

  #forget(key: string, bytes: number): void {
    this.#kept.delete(key);
    this.#bytes -= bytes;
  }
}

/** Equal for what is asked in equal words: of another spelling it is another one, and computed again. */
export function keyOf(group: Group, requests: readonly ReadRequest[], salt = ""): string {
  return createHash("sha256")
    .update(JSON.stringify([group, requests, salt]))
    .digest("base64");
}

/** In memory, about. */
function sizeOf({ answers, places }: Success): number {
  const numbers = answers.flat().reduce<number>((sum, answer) => sum + lengthOf(answer), 0);
  const texts = places.flat().reduce((sum, place) => sum + (place ? 64 + 2 * place.text.length : 8), 0);
  return 512 + 8 * numbers + texts;
}

function lengthOf(answer: Success["answers"][number][number]): number {
  if (typeof answer === "number") return 1;
  return "each" in answer ? answer.each.length + 1 : answer.length;
}
