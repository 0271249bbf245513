/**
 * @file Finds a key that stands twice in one JSON object. JSON.parse keeps the last value and forgets the first, so a
 * record with two `responses` would be scored in part without a word.
 */

/**
 * @param json valid JSON; strings are skipped without a copy, so that data URLs cost nothing
 * @returns the first repeated key
 */
export function repeatedKey(json: string): string | undefined {
  const open: (Set<string> | null)[] = []; // the keys of each open object, null for a list
  let atKey = false;
  for (let at = 0; at < json.length; at++) {
    switch (json[at]) {
      case "{":
        open.push(new Set());
        atKey = true;
        break;
      case "[":
        open.push(null);
        atKey = false;
        break;
      case "}":
      case "]":
        open.pop();
        atKey = false;
        break;
      case ",":
        atKey = open.at(-1) instanceof Set;
        break;
      case '"': {
        const end = endOfString(json, at);
        const keys = open.at(-1);
        if (atKey && keys instanceof Set) {
          const key = String(JSON.parse(json.slice(at, end + 1)));
          if (keys.has(key)) return key;
          keys.add(key);
          atKey = false;
        }
        at = end;
        break;
      }
    }
  }
  return undefined;
}

/** The position of the quote that closes the string opened at `start`: one with an even number of backslashes before. */
export function endOfString(json: string, start: number): number {
  let end = json.indexOf('"', start + 1);
  for (; end !== -1; end = json.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (json[end - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return json.length;
}
