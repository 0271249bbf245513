/**
 * @file How much a line of JSON would become, before it is parsed: a line of 256 MB may hold a hundred million empty objects,
 * which fill the memory, or as many lists in each other, which no stack holds.
 */
import { VlRewardError } from "../errors.ts";
import { endOfString } from "./json-keys.ts";

export interface JsonSize {
  /** Values, keys not counted. Of what is no JSON, a number that its parser does not exceed. */
  readonly values: number;
  /** Lists and objects in each other. */
  readonly depth: number;
}

/** Of one record: a hundred thousand answers and much besides, in a few hundred megabytes. */
export const mostValues = 1_000_000;
/** What recursive functions can follow. */
export const mostDepth = 500;

/** Strings are skipped without a copy, so that data URLs cost nothing. */
export function jsonSize(json: string): JsonSize {
  let [values, open, depth] = [1, 0, 0];
  for (let at = 0; at < json.length; at++) {
    switch (json[at]) {
      case "{":
      case "[":
        values++; // its first entry; an empty one counts for two
        open++;
        depth = Math.max(depth, open);
        break;
      case "}":
      case "]":
        open--;
        break;
      case ",":
        values++;
        break;
      case '"':
        at = endOfString(json, at);
        break;
    }
  }
  return { values, depth };
}

/** Throws `invalid_record` for more than a record may hold. */
export function assertBounded(json: string): void {
  const { values, depth } = jsonSize(json);
  if (values > mostValues) {
    const found = `the record has ${values} values, at most ${mostValues} are read`;
    throw new VlRewardError("invalid_record", `${found}; write its answers as several records`);
  }
  if (depth > mostDepth) {
    const found = `lists and objects lie ${depth} deep in each other, at most ${mostDepth} are read`;
    throw new VlRewardError("invalid_record", found);
  }
}
