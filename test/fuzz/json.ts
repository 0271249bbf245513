/** @file Changes somewhere in a JSON value: what tools, people and damaged disks make of it. */
import { oneOf, type Random } from "./random.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type Path = readonly (string | number)[];

/** A value of another type, or one that nobody expects of its own. `nested` lists lie in each other. */
export function oddValue(random: Random): Json {
  const texts = [
    "",
    " ",
    "\0",
    "a\0b",
    "\u{1F600}",
    "NaN",
    "-1",
    "8",
    "true",
    "null",
    "../..",
    "<|im_end|>",
    "{{ x }}",
  ];
  const numbers = [0, -0, -1, 1, 2, 0.5, 1e9, 1e18, 1e308, 5e-324, 2 ** 31, 2 ** 53, 65_536];
  switch (random(12)) {
    case 0:
      return null;
    case 1:
      return random(2) === 0;
    case 2:
    case 3:
    case 4:
      return oneOf(random, numbers);
    case 5:
    case 6:
      return oneOf(random, texts);
    case 7:
      return "x".repeat(oneOf(random, [61, 3000, 200_000]));
    case 8:
      return oneOf<Json>(random, [[], {}, [[]], [null], { a: [] }]);
    case 9:
      return nested(oneOf(random, [3, 100, 2000]));
    case 10:
      return "\ud800"; // half a surrogate pair: JSON.stringify writes its escape
    default:
      return Array.from({ length: random(300) }, () => random(10));
  }
}

function nested(depth: number): Json {
  let value: Json = [];
  for (let level = 1; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

/** Where the parts of a value are, itself included, down to `deepest`. */
function pathsOf(value: Json, at: Path = [], deepest = 6): Path[] {
  if (typeof value !== "object" || value === null || at.length >= deepest) return [at];
  return [at, ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...at, key], deepest))];
}

/** A copy with the value at `path` changed; `undefined` takes it out. */
function changedAt(value: Json, [key, ...rest]: Path, change: (value: Json) => Json | undefined): Json | undefined {
  if (key === undefined) return change(value);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).flatMap(([name, inner]): [string, Json][] => {
    if (name !== String(key)) return [[name, inner]];
    const changed = changedAt(inner, rest, change);
    return changed === undefined ? [] : [[name, changed]];
  });
  return Array.isArray(value) ? entries.map(([, inner]) => inner) : Object.fromEntries(entries);
}

/** A copy in which something, seldom two or three things, is missing, of another type, said twice, renamed or new. */
export function mutated(value: Json, random: Random): Json {
  let changed: Json = value;
  for (let turn = Math.max(1, random(8) - 4); turn > 0; turn--) {
    const [whole = [], ...inside] = pathsOf(changed);
    const path = inside.length === 0 || random(40) === 0 ? whole : oneOf(random, inside);
    changed = changedAt(changed, path, (found) => changedValue(found, random)) ?? null;
  }
  return changed;
}

function changedValue(value: Json, random: Random): Json | undefined {
  switch (random(6)) {
    case 0:
      return undefined;
    case 1:
    case 2:
      return oddValue(random);
    case 3:
      if (typeof value === "number") return value * oneOf(random, [-1, 2, 0.5, 1000, 1e9]);
      if (typeof value === "string") return value.repeat(oneOf(random, [2, 50]));
      return Array.isArray(value) ? [...value, ...value] : oddValue(random);
    case 4: {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return [value];
      const [name = "a", ...others] = Object.keys(value);
      const renamed = oneOf(random, [`${name}s`, name.toUpperCase(), "", "__proto__", "constructor"]);
      const pairs = [name, ...others].map((key): [string, Json] => [
        key === name ? renamed : key,
        changedKey(value, key),
      ]);
      return Object.fromEntries(pairs);
    }
    default:
      if (typeof value !== "object" || value === null || Array.isArray(value)) return { value };
      return { ...value, [oneOf(random, ["extra", "image", "toString", "x".repeat(5000)])]: oddValue(random) };
  }
}

const changedKey = (value: object, key: string): Json => {
  const found: Json | undefined = Reflect.get(value, key);
  return found ?? null;
};
