import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it, test } from "vitest";
import { Keys } from "./keys.ts";

const folder = mkdtempSync(join(tmpdir(), "vl-reward-keys-"));
afterAll(() => rmSync(folder, { recursive: true }));

function keysOf(text: string): Keys {
  const file = join(folder, "keys.txt");
  writeFileSync(file, text);
  return Keys.fromFile(file);
}

const basic = (user: string, password: string) => `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

const [first, second] = ["0123456789abcdef", "fedcba9876543210:with:colons"];

test("each key opens, as Bearer and as the password of Basic, for whoever owns it", () => {
  const keys = keysOf(`# of this team\n\nalice ${first}\r\n  ${second}  \n`);
  for (const [key, owner] of [
    [first, "alice"],
    [second, "key-4"],
  ] as const) {
    for (const header of [`Bearer ${key}`, `bearer ${key}`, basic("any", key), basic("", key)]) {
      expect(keys.ownerOf(header)).toBe(owner);
    }
  }
});

it.each([
  undefined,
  "",
  first,
  `Token ${first}`,
  "Bearer",
  "Bearer ",
  `Bearer ${first.slice(0, -1)}`,
  `Bearer ${first}x`,
  basic(first, "other"),
  "Basic ????",
])("opens to nobody: %s", (header) => {
  expect(keysOf(first).ownerOf(header)).toBeUndefined();
});

it.each([
  ["", "holds no key"],
  ["# nothing\n", "holds no key"],
  ["short", "line 1: a key of 5 characters"],
  [`${first}\na b ${first}`, "line 2: expected a key, or a name and a key"],
])("a file that is none: %j", (text, message) => {
  expect(() => keysOf(text)).toThrow(
    expect.objectContaining({ code: "usage", message: expect.stringContaining(message) }),
  );
});

it("a file that is not there, and a folder", () => {
  for (const path of [join(folder, "none"), folder]) {
    expect(() => Keys.fromFile(path)).toThrow(expect.objectContaining({ code: "usage" }));
  }
});
