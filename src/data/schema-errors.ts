/**
 * @file Says in one sentence where a JSON value departs from its zod schema.
 *
 * Every schema in this folder carries, as its zod message, what it expects ("a string"); the sentence adds the path and
 * what was found: `messages[1].content[0].image_url.url: expected a string, found the number 3`. Only the first
 * departure is told, and inside a union the one in the alternative that fits furthest.
 */

import type { z } from "zod";
import { quote, VlRewardError } from "../errors.ts";

type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;

/**
 * @param known the keys that an object at this path may have, to name the nearest one to a misspelt key
 */
export function invalidRecord(
  value: unknown,
  error: z.core.$ZodError,
  known: (path: Path) => readonly string[],
): VlRewardError {
  const first = error.issues[0];
  if (first === undefined) return new VlRewardError("invalid_record", "the record does not have the shape of a record");
  const issue = deepest(first);
  const where = issue.path.length > 0 ? `${jsonPath(issue.path)}: ` : "";
  return new VlRewardError("invalid_record", where + departure(value, issue, known));
}

/** What is wrong at the issue's path, without the path. */
export function departure(value: unknown, issue: Issue, known: (path: Path) => readonly string[]): string {
  if (issue.code === "custom") return issue.message;
  if (issue.code === "unrecognized_keys") return unknownKey(issue.keys[0] ?? "", known(issue.path));
  return `expected ${issue.message}, found ${describe(lookUp(value, issue.path))}`;
}

/** `["messages", 1, "content"]` as `messages[1].content`. */
export function jsonPath(path: Path): string {
  return path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");
}

/** A JSON value for a message: short, on one line. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "an object";
  if (typeof value === "string") return `the string ${quote(value)}`;
  return `the ${typeof value} ${String(value)}`;
}

function deepest(issue: Issue): Issue {
  if (issue.code !== "invalid_union") return issue;
  const inside = issue.errors
    .flatMap((issues) => issues.slice(0, 1))
    .map((inner) => deepest({ ...inner, path: [...issue.path, ...inner.path] }))
    .sort((a, b) => b.path.length - a.path.length)[0];
  return inside !== undefined && inside.path.length > issue.path.length ? inside : issue;
}

function lookUp(value: unknown, path: Path): unknown {
  let at = value;
  for (const key of path) {
    if (typeof at !== "object" || at === null) return undefined;
    at = Reflect.get(at, key);
  }
  return at;
}

/** Names the nearest known key, or all of them where none is near. */
export function unknownKey(key: string, known: readonly string[]): string {
  const nearest = known
    .map((name) => ({ name, distance: editDistance(key, name) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const close = nearest !== undefined && nearest.distance <= Math.max(2, nearest.name.length / 3);
  if (known.length === 0) return `unknown key ${quote(key)}`;
  const hint = close ? `did you mean "${nearest.name}"?` : `known keys are ${known.join(", ")}`;
  return `unknown key ${quote(key)}; ${hint}`;
}

/** Levenshtein's distance; long keys are cut, they are no typing errors. */
function editDistance(from: string, to: string): number {
  const letters = [...from.slice(0, 40)];
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  letters.forEach((letter, index) => {
    const next = [index + 1];
    for (let column = 1; column <= to.length; column++) {
      const replace = (row[column - 1] ?? 0) + (letter === to[column - 1] ? 0 : 1);
      next.push(Math.min(replace, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  });
  return row[to.length] ?? 0;
}
