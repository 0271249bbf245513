/** @file JSON bodies as clients send them: bounded before they are parsed, with the bare NaN and Infinity that Python writes. */

import { endOfString } from "../data/json-keys.ts";
import { jsonSize, mostDepth } from "../data/json-size.ts";
import { VlRewardError } from "../errors.ts";

/** Values of one body: a request has many records. */
const mostValues = 4_000_000;

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * A bare NaN or Infinity becomes an object that says so: a field that nobody reads may have one, and whatever reads a number or a text
 * refuses it.
 *
 * @throws VlRewardError `invalid_request`
 */
export function parseJsonBody(bytes: Uint8Array): unknown {
  if (bytes.length === 0) throw new VlRewardError("invalid_request", "the body is empty; expected JSON");
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch (cause) {
    throw new VlRewardError("invalid_request", "the body is not UTF-8", { cause });
  }
  const { values, depth } = jsonSize(text);
  if (values > mostValues || depth > mostDepth) {
    const found = values > mostValues ? `has ${values} values` : `has lists and objects ${depth} deep in each other`;
    throw new VlRewardError(
      "invalid_request",
      `the body ${found}; at most ${mostValues} values and ${mostDepth} levels are read`,
    );
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    const finite = withoutBareNumbers(text);
    if (finite !== text) return parseAgain(finite);
    throw unreadable(cause);
  }
}

function parseAgain(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw unreadable(cause);
  }
}

function unreadable(cause: unknown): VlRewardError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new VlRewardError("invalid_request", `the body is not readable JSON: ${reason}`, { cause });
}

/** Puts an object in the place of bare NaN, Infinity and -Infinity outside of strings. */
function withoutBareNumbers(json: string): string {
  let [result, from] = ["", 0];
  for (let at = 0; at < json.length; at++) {
    if (json[at] === '"') {
      at = endOfString(json, at);
      continue;
    }
    const bare = ["NaN", "Infinity", "-Infinity"].find((word) => json.startsWith(word, at));
    if (bare === undefined) continue;
    result += `${json.slice(from, at)}{"not_a_number":"${bare}"}`;
    from = at + bare.length;
    at = from - 1;
  }
  return result + json.slice(from);
}
