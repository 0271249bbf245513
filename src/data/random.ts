/**
 * @file Random numbers that are the same on every machine and in every version: xoshiro128** 1.1 by Blackman and Vigna
 * (https://prng.di.unimi.it/xoshiro128starstar.c), seeded by a hash of what it is for. Each purpose has a stream of its
 * own, so that none depends on how many numbers another one has drawn.
 */

import { createHash } from "node:crypto";

/** Draws a whole number between 0 and 2^32 - 1. */
export type RandomWords = () => number;

/** The stream of a purpose, such as ("epoch", seed, stage): the state is the first 16 bytes of SHA-256 of its JSON. */
export function randomStream(...purpose: readonly (string | number)[]): RandomWords {
  const hash = createHash("sha256").update(JSON.stringify(purpose)).digest();
  return xoshiro128([hash.readUInt32LE(0), hash.readUInt32LE(4), hash.readUInt32LE(8), hash.readUInt32LE(12)]);
}

/** @param state not all zero */
export function xoshiro128(state: readonly [number, number, number, number]): RandomWords {
  let [a, b, c, d] = state;
  return () => {
    const word = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotate(d, 11);
    return word;
  };
}

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

/** Shuffles in place, every order equally likely (Fisher-Yates, from the end). */
export function shuffle(values: Uint32Array, random: RandomWords): void {
  for (let last = values.length - 1; last > 0; last--) {
    const other = below(last + 1, random);
    const value = values[last] ?? 0;
    values[last] = values[other] ?? 0;
    values[other] = value;
  }
}

/** A whole number below `bound`, each equally likely: words of the incomplete last round are drawn again. */
export function below(bound: number, random: RandomWords): number {
  const whole = 2 ** 32 - (2 ** 32 % bound);
  let word = random();
  while (word >= whole) word = random();
  return word % bound;
}
