import { describe, expect, it, test } from "vitest";
import { parseJsonBody } from "./json-body.ts";

const parse = (text: string) => parseJsonBody(Buffer.from(text));
const refusal = (message: string) =>
  expect.objectContaining({ code: "invalid_request", message: expect.stringContaining(message) });

test("what is JSON is what JSON.parse makes of it", () => {
  for (const text of ['{"a": [1, "NaN", {"b": null}]}', "[]", '"text"', '{"a": "\\"NaN, Infinity"}']) {
    expect(parse(text)).toEqual(JSON.parse(text));
  }
});

describe("bare numbers of Python", () => {
  it("become what no number and no text is", () => {
    expect(parse('{"labels": [NaN, Infinity, -Infinity, 1], "query": ["a NaN \\" NaN"]}')).toEqual({
      labels: [...["NaN", "Infinity", "-Infinity"].map((name) => ({ not_a_number: name })), 1],
      query: ['a NaN " NaN'],
    });
  });

  it("mend nothing else", () => {
    expect(() => parse('{"labels": [NaN}')).toThrow(refusal("not readable JSON"));
  });
});

it.each([
  ["", "empty"],
  ["{", "not readable JSON"],
  [`${"[".repeat(600)}${"]".repeat(600)}`, "600 deep"],
  [`[${"0,".repeat(4_000_001)}0]`, "values"],
])("refuses what it cannot read, within bounds", (text, message) => {
  expect(() => parse(text)).toThrow(refusal(message));
});

it("refuses what is not UTF-8", () => {
  expect(() => parseJsonBody(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(refusal("UTF-8"));
});
