/**
 * @file The one mapping between the wire's spelling and TypeScript's: `min_pixels` is `minPixels`, at every depth of
 * lists and objects. Only keys change.
 */

type CamelKey<K> = K extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelKey<Tail>>}` : K;

/** What `camelCase` makes of a T: its keys respelt, and all of it readonly. */
export type CamelCase<T> = T extends readonly unknown[]
  ? { readonly [I in keyof T]: CamelCase<T[I]> }
  : T extends object
    ? { readonly [K in keyof T as CamelKey<K>]: CamelCase<T[K]> }
    : T;

/** @param wire plain data, as JSON or YAML has it */
export function camelCase<T>(wire: T): CamelCase<T> {
  return mapKeys(wire, (key) => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())) as CamelCase<T>;
}

/** The way back: keys that `camelCase` has made become what they were. */
export function snakeCase(value: unknown): unknown {
  return mapKeys(value, (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

function mapKeys(value: unknown, spell: (key: string) => string): unknown {
  if (Array.isArray(value)) return value.map((entry) => mapKeys(entry, spell));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [spell(key), mapKeys(entry, spell)]));
}
