/**
 * @file Byte-pair encoding of one piece of text: of all neighbouring pairs the one that was learned first is merged,
 * the leftmost where it stands twice, until no known pair is left. Works on ids; knows nothing of text or files.
 *
 * Pairs wait in a heap, so that a piece of n bytes takes O(n log n) even without a single space.
 */

/** Ids stay below this, so that a pair of them and a rank with a position are exact in a double. */
export const idLimit = 2 ** 21;
const positionLimit = 2 ** 31;

export interface Merge {
  readonly left: number;
  readonly right: number;
  readonly merged: number;
}

export class BytePairEncoder {
  readonly #rankOfPair = new Map<number, number>();
  readonly #mergedOfRank: number[] = [];

  /** @param merges in the order they were learned; of a pair that stands twice the last counts, as in Hugging Face */
  constructor(merges: Iterable<Merge>) {
    for (const { left, right, merged } of merges) {
      this.#rankOfPair.set(left * idLimit + right, this.#mergedOfRank.length);
      this.#mergedOfRank.push(merged);
    }
  }

  /** @param ids of the single bytes; becomes the list of merged ids, in place */
  encode(ids: number[]): void {
    const count = ids.length;
    if (count < 2) return;
    // A chain of the symbols still there, by the position of their first byte; -1 where a symbol was merged away.
    const next = new Int32Array(count);
    const previous = new Int32Array(count);
    const waiting = new MinHeap();
    const offer = (at: number) => {
      const rank = this.#rank(ids, at, next);
      if (rank !== undefined) waiting.push(rank * positionLimit + at);
    };
    for (let at = 0; at < count; at++) {
      next[at] = at + 1;
      previous[at] = at - 1;
    }
    for (let at = 0; at < count; at++) offer(at);
    for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) {
      const rank = Math.floor(key / positionLimit);
      const left = key % positionLimit;
      if (ids[left] === -1 || this.#rank(ids, left, next) !== rank) continue; // one of the two was merged since
      const right = next[left] ?? count;
      const after = next[right] ?? count;
      ids[left] = this.#mergedOfRank[rank] ?? 0;
      ids[right] = -1;
      next[left] = after;
      if (after < count) previous[after] = left;
      const before = previous[left] ?? -1;
      if (before >= 0) offer(before);
      offer(left);
    }
    let kept = 0;
    for (let at = 0; at < count; at = next[at] ?? count) ids[kept++] = ids[at] ?? 0;
    ids.length = kept;
  }

  /** When the pair that begins at a position was learned; undefined for the last symbol and for an unknown pair. */
  #rank(ids: readonly number[], at: number, next: Int32Array): number | undefined {
    const right = ids[next[at] ?? ids.length];
    return right === undefined ? undefined : this.#rankOfPair.get((ids[at] ?? 0) * idLimit + right);
  }
}

/** A binary heap of numbers, the smallest on top. */
class MinHeap {
  readonly #keys: number[] = [];

  push(key: number): void {
    const keys = this.#keys;
    let at = keys.length;
    keys.push(key);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = keys[parent] ?? 0;
      if (above <= key) break;
      keys[at] = above;
      at = parent;
    }
    keys[at] = key;
  }

  pop(): number | undefined {
    const keys = this.#keys;
    const top = keys[0];
    const last = keys.pop();
    if (last === undefined || keys.length === 0) return top;
    let at = 0;
    for (let child = 1; child < keys.length; child = 2 * at + 1) {
      if ((keys[child + 1] ?? Number.POSITIVE_INFINITY) < (keys[child] ?? 0)) child++;
      const below = keys[child] ?? 0;
      if (below >= last) break;
      keys[at] = below;
      at = child;
    }
    keys[at] = last;
    return top;
  }
}
