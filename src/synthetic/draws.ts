/**
 * @file Draws from a specified generator: the same on every machine.
 */
import { below, type RandomWords, xoshiro128 } from "../data/random.ts";

export class Draws {
  readonly #words: RandomWords;

  constructor(words: RandomWords) {
    this.#words = words;
  }

  /** A whole number from 0 to bound - 1. */
  below(bound: number): number {
    return below(bound, this.#words);
  }

  /** A whole number from low to high, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True `times` out of `of`. */
  chance(times: number, of: number): boolean {
    return this.below(of) < times;
  }

  pick<Value>(values: readonly Value[]): Value {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new RangeError("nothing to pick from");
    return value;
  }

  /** `count` of the values, or all where there are fewer, in any order. */
  sample<Value>(values: readonly Value[], count: number): Value[] {
    const left = [...values];
    const taken: Value[] = [];
    while (taken.length < count && left.length > 0) taken.push(...left.splice(this.below(left.length), 1));
    return taken;
  }

  /** One of the keys, as often as its weight (a whole number) says. */
  weighted<Key>(weights: readonly (readonly [Key, number])[]): Key {
    let rest = this.below(weights.reduce((sum, [, weight]) => sum + weight, 0));
    for (const [key, weight] of weights) {
      if (rest < weight) return key;
      rest -= weight;
    }
    throw new RangeError("no weights to draw by");
  }

  /** A stream of its own: what is drawn from it moves nothing here. */
  fork(): Draws {
    const state = [this.#words(), this.#words(), this.#words(), this.#words() | 1] as const;
    return new Draws(xoshiro128(state));
  }
}
