/** @file Patterns of file names fit what they fit for bash. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { filesMatching, isPattern } from "./file-patterns.ts";

const folder = mkdtempSync(join(tmpdir(), "vl-reward-patterns-"));
afterAll(() => rmSync(folder, { recursive: true }));

const names = [
  "a.jsonl",
  "b.jsonl",
  "ab.jsonl",
  "a-1.jsonl",
  "a+b(1).jsonl",
  "x^y.jsonl",
  "ä.jsonl",
  ".hidden.jsonl",
  "a.json",
  "deep/a.jsonl",
  "deep/er/b.jsonl",
  "deep/er/still/c.jsonl",
  "deep/.hidden/d.jsonl",
  "other/a.jsonl",
  "with space/a b.jsonl",
];
for (const name of names) {
  mkdirSync(join(folder, dirname(name)), { recursive: true });
  writeFileSync(join(folder, name), "");
}

/** What bash makes of an unquoted pattern, files only, in the order of code units. */
function ofBash(pattern: string): string[] {
  const script =
    'shopt -s nullglob globstar; IFS=; for path in $1; do [[ -f "$path" ]] && printf "%s\\n" "$path"; done; true';
  const found = execFileSync("bash", ["-c", script, "bash", pattern], {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  return found.split("\n").slice(0, -1).sort();
}

const hasGlobstar = spawnSync("bash", ["-c", "shopt -s globstar"]).status === 0;

describe.skipIf(!hasGlobstar)("as in bash (needs bash 4)", () => {
  it.each([
    "*.jsonl",
    "?.jsonl",
    "[ab].jsonl",
    "[!a].jsonl",
    "[a-c]*.jsonl",
    "a+b(*.jsonl",
    "x^*.jsonl",
    "[^]*.jsonl",
    ".*.jsonl",
    "*/a.jsonl",
    "*/*.jsonl",
    "deep/**/*.jsonl",
    "**/*.jsonl",
    "**/a.jsonl",
    "deep/*/b.jsonl",
    "with*/*.jsonl",
    "nothing*.jsonl",
    "a.jsonl/*",
  ])("%s", (pattern) => {
    const whole = join(folder, pattern);
    expect(isPattern(pattern)).toBe(true);
    expect(filesMatching(whole)).toEqual(ofBash(whole));
  });
});
