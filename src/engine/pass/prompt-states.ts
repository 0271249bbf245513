/**
 * @file What a pass knows of its prompts: keys and values that earlier passes have left in the cache or its own streams have made,
 * and hidden states where a reader wants those of prompts.
 */

import type { KeyValues, Run } from "../../nn/attention/packed-attention.ts";
import { bytesPerElement, cat, clone, keep, narrow, type Tensor } from "../../torch/index.ts";
import type { ByteCache, Loan } from "./byte-cache.ts";
import type { PromptWork } from "./plan.ts";
import type { Hidden } from "./stream.ts";

/** The keys and values of a prompt, layer by layer. */
export type Prefix = readonly KeyValues[];

export class PromptStates {
  readonly #cache: ByteCache<Prefix>;
  readonly #loan: Loan<Prefix>;
  readonly #known = new Map<PromptWork, Prefix>();
  /** Made by this pass, and still its own. */
  readonly #made = new Map<PromptWork, Prefix>();
  /** Of prompts whose hidden states are read: those of earlier streams, in order. */
  readonly #seen = new Map<PromptWork, Tensor[]>();

  /** @param fromCache whether a prompt's keys and values are all that is wanted of it: its hidden states are in no cache */
  constructor(cache: ByteCache<Prefix>, prompts: readonly PromptWork[], fromCache: (work: PromptWork) => boolean) {
    this.#cache = cache;
    this.#loan = cache.lend();
    for (const work of prompts) {
      if (fromCache(work)) {
        const known = this.#loan.get(work.key);
        if (known) this.#known.set(work, known);
      } else {
        this.#seen.set(work, []);
      }
    }
  }

  isKnown(work: PromptWork): boolean {
    return this.#known.has(work);
  }

  /** The keys and values of a prompt as far as they have been computed. */
  before(work: PromptWork): Prefix | undefined {
    return this.#known.get(work) ?? this.#made.get(work);
  }

  /** Takes over what a stream has made of a prompt: its keys and values from its beginning on. */
  take(work: PromptWork, prefix: Prefix): void {
    disposePrefix(this.#made.get(work) ?? []);
    this.#made.set(work, prefix);
  }

  /**
   * -> a stream's hidden states with those of its prompts from earlier streams before them, so that `rows` are whole
   * conversations; where prompts are not read, as they came.
   *
   * @param works the prompt of each of the stream's branches
   */
  withPrompts(hidden: Hidden, works: readonly PromptWork[]): Hidden {
    const { all } = hidden;
    const earlier = [...new Set(works)].filter((work) => (this.#seen.get(work) ?? []).length > 0);
    if (!all || earlier.length === 0) return hidden;
    const starts = new Map<PromptWork, number>();
    const parts: Tensor[] = [];
    let start = 0;
    for (const work of earlier) {
      starts.set(work, start);
      for (const part of this.#seen.get(work) ?? []) {
        parts.push(part);
        start += part.size(0);
      }
    }
    const rows = hidden.rows.map((own, index) => {
      const moved = own.map((row) => row + start);
      const work = works[index];
      const first = work && starts.get(work);
      if (!work || first === undefined) return moved;
      const length = (this.#seen.get(work) ?? []).reduce((sum, part) => sum + part.size(0), 0);
      return Int32Array.from([...Array.from({ length }, (_, offset) => first + offset), ...moved]);
    });
    return { ...hidden, all: cat([...parts, all], 0), rows };
  }

  /** Keeps a stream's part of a prompt for the streams behind it, where its hidden states are read. */
  see(work: PromptWork, all: Tensor, { start, length }: Run): void {
    if (length > 0) this.#seen.get(work)?.push(keep(clone(narrow(all, 0, start, length))));
  }

  /** Gives what the pass has made to the cache. */
  settle(): void {
    for (const [work, prefix] of this.#made) this.#cache.set(work.key, prefix, bytesOf(prefix));
    this.#made.clear();
  }

  /** Lets go of everything. What was not settled may be half-computed, and is freed. */
  end(): void {
    for (const prefix of this.#made.values()) disposePrefix(prefix);
    for (const part of [...this.#seen.values()].flat()) part.dispose();
    this.#made.clear();
    this.#seen.clear();
    this.#loan.end();
  }
}

export function disposePrefix(prefix: Prefix): void {
  for (const { keys, values } of prefix) {
    keys.dispose();
    values.dispose();
  }
}

function bytesOf(prefix: Prefix): number {
  return prefix.reduce((sum, { keys }) => sum + 2 * keys.elements * bytesPerElement(keys.dtype), 0);
}
