import { describe, expect, it } from "vitest";
import { jsonValues, valueLines } from "./json-values.ts";

/** The bytes of a text in pieces of so many. */
async function* pieces(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function linesOf(text: string, kind: "list" | "values", size = 7) {
  const found: (string | { code: string })[] = [];
  for await (const { number, content } of valueLines(pieces(text, size), kind)) {
    expect(number).toBe(found.length);
    found.push(typeof content === "string" ? content : { code: content.code });
  }
  return found;
}

const values = [
  { a: 1 },
  {},
  { text: 'a "quote", a \\ and {[,]} ü 😀', list: [[], [{}], "]"] },
  { deep: { deeper: [{ deepest: [1, 2, { x: "}" }] }] } },
];

describe.each([1, 2, 3, 5, 64, 10_000])("in pieces of %i bytes", (size) => {
  it.each([undefined, 1, 4, "\t"])(
    "the entries of a list are those that JSON.parse finds (indent %j)",
    async (indent) => {
      for (const list of [values, [], [{}], [values, 3, "a,b", null, [], "["]]) {
        const text = `\uFEFF ${JSON.stringify(list, null, indent)}\n`;
        const found = await linesOf(text, "list", size);
        expect(found.map((one) => JSON.parse(String(one)))).toEqual(list);
      }
    },
  );

  it("objects over several lines are those that were written", async () => {
    const text = values.map((value) => JSON.stringify(value, null, 2)).join("\n\n");
    const found = await linesOf(text, "values", size);
    expect(found.map((one) => JSON.parse(String(one)))).toEqual(values);
  });

  it("a value is told by where it lies", async () => {
    const text = JSON.stringify(values, null, 2);
    const bytes = Buffer.from(text);
    for await (const { start, end } of jsonValues(pieces(text, size), "list")) {
      expect(values).toContainEqual(JSON.parse(bytes.subarray(start, end).toString()));
    }
  });
});

describe("what is no list", () => {
  it.each([
    ["a comma too many at the end", '[{"a":1},]', ['{"a":1}', ""]],
    ["two commas", '[{"a":1},,{"b":2}]', ['{"a":1}', "", '{"b":2}']],
    ["no comma", '[{"a":1} {"b":2}]', ['{"a":1} {"b":2}']],
    ["something behind it", '[{"a":1}] {"b":2}', ['{"a":1}', '{"b":2}']],
    ["the end within an entry", '[{"a":1},{"b":', ['{"a":1}', { code: "invalid_json" }]],
    ["the end within a text", '[{"a":1},{"b":"', ['{"a":1}', { code: "invalid_json" }]],
    ["the end behind an entry", '[{"a":1}', [{ code: "invalid_json" }]],
    ["the end behind a comma", '[{"a":1},', ['{"a":1}', { code: "invalid_json" }]],
    ["nothing but its beginning", "[", [{ code: "invalid_json" }]],
  ])("%s is an entry that nobody can read", async (_, text, expected) => {
    expect(await linesOf(text, "list")).toEqual(expected);
  });

  it("an object without its end is told", async () => {
    expect(await linesOf('{\n"a": 1\n}\n{\n"b":', "values")).toEqual(['{\n"a": 1\n}', { code: "invalid_json" }]);
  });

  it("an entry that is too long is passed over, the next one read", async () => {
    const text = `[{"a":"${"x".repeat(100)}"},{"b":2}]`;
    const found: (number | undefined)[] = [];
    for await (const { bytes } of jsonValues(pieces(text, 9), "list", 50)) found.push(bytes?.length);
    expect(found).toEqual([undefined, 7]);
  });
});
