/**
 * @file What was computed before, kept within a number of bytes; the least recently used goes first.
 *
 * The cache owns its values: `release` frees one (a tensor's memory, which no garbage collector sees) when it is evicted,
 * replaced, deleted, cleared or too large to be kept. Values leave only inside `set`, `delete` and `clear`, so what `get`
 * returned is good until the next of these; what a loan returned is good until the loan ends, whoever sets meanwhile.
 */

export interface CacheStats {
  readonly hits: number;
  readonly misses: number;
  readonly entries: number;
  readonly bytes: number; // held now
}

/** -> the stats of several caches as one */
export function sumOfStats(all: readonly CacheStats[]): CacheStats {
  const sum = { hits: 0, misses: 0, entries: 0, bytes: 0 };
  for (const { hits, misses, entries, bytes } of all) {
    sum.hits += hits;
    sum.misses += misses;
    sum.entries += entries;
    sum.bytes += bytes;
  }
  return sum;
}

interface Entry<V> {
  readonly value: V;
  readonly bytes: number;
  /** How many loans hold it. One that has left the cache meanwhile is released with the last of them. */
  loans: number;
  gone: boolean;
}

/** Values that are read for a while, as a pass over the model does that others may interrupt. */
export interface Loan<V> {
  /** As the cache's, but the value is good until `end`. */
  get(key: string): V | undefined;
  end(): void;
}

export class ByteCache<V> {
  readonly capacity: number; // bytes
  readonly #release: (value: V) => void;
  readonly #entries = new Map<string, Entry<V>>(); // a Map keeps its order: least recently used first
  #bytes = 0;
  #hits = 0;
  #misses = 0;

  /** `capacity` in bytes; with 0 nothing is kept. `release` frees a value and is called once for each that was set. */
  constructor(capacity: number, release: (value: V) => void) {
    this.capacity = capacity;
    this.#release = release;
  }

  /** -> the value, which the cache goes on owning, or undefined; it counts as used. */
  get(key: string): V | undefined {
    return this.#use(key)?.value;
  }

  lend(): Loan<V> {
    const lent: Entry<V>[] = [];
    return {
      get: (key) => {
        const entry = this.#use(key);
        if (!entry) return undefined;
        entry.loans++;
        lent.push(entry);
        return entry.value;
      },
      end: () => {
        for (const entry of lent.splice(0)) {
          entry.loans--;
          if (entry.gone && entry.loans === 0) this.#release(entry.value);
        }
      },
    };
  }

  #use(key: string): Entry<V> | undefined {
    const entry = this.#entries.get(key);
    if (!entry) {
      this.#misses++;
      return undefined;
    }
    this.#hits++;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /**
   * Takes `value` over, in place of what the key had. `bytes` is what it holds, more than none. One that is larger than
   * the capacity is released at once and evicts nothing.
   */
  set(key: string, value: V, bytes: number): void {
    this.delete(key);
    if (bytes > this.capacity) {
      this.#release(value);
      return;
    }
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes + bytes <= this.capacity) break;
      this.delete(oldest);
    }
    this.#entries.set(key, { value, bytes, loans: 0, gone: false });
    this.#bytes += bytes;
  }

  /** Releases the key's value, if there is one. */
  delete(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
    entry.gone = true;
    if (entry.loans === 0) this.#release(entry.value);
  }

  /** Releases every value; the counts of hits and misses go on. */
  clear(): void {
    for (const key of this.#entries.keys()) this.delete(key);
  }

  get stats(): CacheStats {
    return { hits: this.#hits, misses: this.#misses, entries: this.#entries.size, bytes: this.#bytes };
  }
}
