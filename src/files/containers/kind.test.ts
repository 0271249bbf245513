import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { containerOf } from "./kind.ts";

const tar = Buffer.alloc(1024);
tar.write('{"messages": []}.jsonl', 0);
tar.write("ustar", 257);

it.each([
  ["an HTML page", "\n<!DOCTYPE html><html>"],
  ["an HTML page", "<html lang='en'>"],
  ["XML", '<?xml version="1.0"?>'],
  ["a pointer of git-lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"],
  ["YAML", "---\nmessages: []\n"],
  ["YAML", "- prompt: hi\n  chosen: hello\n"],
  ["YAML", "records:\n- a\n"],
  ["a tar archive", tar],
])("%s is told as a whole", (what, content) => {
  expect(() => containerOf(Buffer.from(content), "FILE")).toThrow(
    expect.objectContaining({
      code: "input_unreadable",
      message: expect.stringMatching(`^FILE is ${what}.*; expected JSON Lines`),
    }),
  );
});

it.each([
  ["lines", '{"messages": []}\n'],
  ["lines", "not JSON at all, which is told line by line"],
  ["lines", "\ufeff\n\n"],
  ["list", " [1]"],
  ["values", '{\n  "messages": []\n}'],
  ["gzip", Buffer.from([0x1f, 0x8b, 8])],
  ["parquet", readFileSync(new URL("../../../test/fixtures/records/pairs.parquet", import.meta.url))],
] as const)("%s", (kind, content) => {
  expect(containerOf(Buffer.from(content), "FILE")).toBe(kind);
});
