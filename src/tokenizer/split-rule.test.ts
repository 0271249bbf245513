/** @file Rules in JavaScript against the same in Oniguruma (test/fixtures/tokenizer); what is refused, by hand. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { randomTexts } from "../../test/tokenizer/random-text.ts";
import { splitterOf } from "./split.ts";

const fixtures = "test/fixtures/tokenizer";
const read = (name: string): unknown => JSON.parse(readFileSync(join(fixtures, name), "utf8"));
const rules = read("split-rules.json") as Record<string, { rule: string; pieces: number; sha256: string }>;

/** Every character of Unicode in a row, and texts. */
const everything: string[] = [];
for (let code = 0; code < 0x110000; code++) {
  if (code < 0xd800 || code >= 0xe000) everything.push(String.fromCodePoint(code));
}
const written = (read("places.json") as { text: string }[]).map(({ text }) => text);
const texts = [...written, ...randomTexts(), everything.join("")];

describe("a rule's pieces", () => {
  it.each(Object.entries(rules))("are Oniguruma's: %s", (_, { rule, pieces, sha256 }) => {
    const split = splitterOf(rule);
    const found = texts.flatMap(split);
    const sha = createHash("sha256").update(found.map((piece) => `${piece}\n`).join(""));
    expect({ pieces: found.length, sha256: sha.digest("hex") }).toEqual({ pieces, sha256 });
  });

  it("keep what the rule does not match as pieces between", () => {
    expect(splitterOf("[a-c]+")("-abc--xca")).toEqual(["-", "abc", "--x", "ca"]);
    expect(splitterOf("a")("")).toEqual([]);
  });
});

it.each([
  ["a group of this kind", "(?<=a)b"],
  ["a group of this kind", "(?<name>b)"],
  ["a group of this kind", "(?i)b"],
  ["a group of this kind", "(?>b)"],
  ["a class of characters", String.raw`\p{Han}`],
  ["a class of characters", String.raw`\p{^L}`],
  ["a class of characters", String.raw`\pL`],
  ["an escape", String.raw`\w+`],
  ["an escape", String.raw`\bx`],
  ["an escape", String.raw`(a)\1`],
  ["an escape", String.raw`x\z`],
  ['"^" here', "^a"],
  ['"$" here', "a$"],
  ['"{" here', "a{,3}"],
  ['"*" here', "*a"],
  ["a class of classes", "[a-z&&[^b]]"],
  ["a class of classes", "[[:alpha:]]"],
  ["a range between classes", String.raw`[a-\d]`],
  ["an empty class", "[]a]"],
  ["a class that is not closed", "[ab"],
  ["a bracket that is not closed", "(a"],
  ["a bracket that was not opened", "a)"],
  ["a repetition of a repetition", "(?:a)+*"],
  ["a repetition of a repetition", "a{1,3}+"],
  ["a repetition of a repetition", "a{1,3}?"],
  ["a repetition", "a{3,1}"],
  ["a repetition of what can match no character", "(?:a?)*"],
  ["what can match no character", "a*|b"],
  ["letters that are also one character where case is ignored", "(?i:first)"],
  ["letters that are also one character where case is ignored", "(?i:[of]l)"],
  ["other than single characters of ASCII where case is ignored", "(?i:é)"],
  ["other than single characters of ASCII where case is ignored", "(?i:[^a])"],
  ["other than single characters of ASCII where case is ignored", String.raw`(?i:\p{L})`],
  ['"(" here', "(?i:a(?:b))"],
])("%s is refused by name: %s", (what, rule) => {
  const message = expect.stringContaining(`has ${what}, which is not supported`);
  expect(() => splitterOf(rule)).toThrow(expect.objectContaining({ code: "config_invalid", message }));
});
