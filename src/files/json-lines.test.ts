import { describe, expect, it } from "vitest";
import { readLines } from "./json-lines.ts";

const bytes = (text: string) => Buffer.from(text, "utf8");

async function* pieces(data: Uint8Array, size: number) {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function linesOf(data: Uint8Array, { size = data.length || 1, limit = 1000 } = {}) {
  const lines: (readonly [number, string])[] = [];
  for await (const { number, content } of readLines(pieces(data, size), limit)) {
    lines.push([number, typeof content === "string" ? content : content.code]);
  }
  return lines;
}

describe("readLines", () => {
  it.each([1, 2, 3, 7, 1000])("does not depend on where the bytes are cut: pieces of %i", async (size) => {
    const data = bytes('\uFEFF{"a":"äöü"}\r\n\n  \t\r\n{"b":"\u{1F600}"}\n{"c":1}');
    expect(await linesOf(data, { size })).toEqual([
      [0, '{"a":"äöü"}\r'],
      [3, '{"b":"\u{1F600}"}'],
      [4, '{"c":1}'],
    ]);
  });

  it("reads nothing from nothing", async () => {
    expect(await linesOf(bytes(""))).toEqual([]);
    expect(await linesOf(bytes("\n\n"))).toEqual([]);
  });

  it("counts a byte order mark only at the start as one", async () => {
    expect(await linesOf(bytes("a\n\uFEFFb\n"))).toEqual([
      [0, "a"],
      [1, "\uFEFFb"],
    ]);
  });

  it("reports invalid UTF-8 and goes on", async () => {
    const data = Buffer.concat([
      bytes("a\n"),
      Buffer.from([0x22, 0xff, 0x22, 0x0a, 0xed, 0xa0, 0x80, 0x0a]),
      bytes("b"),
    ]);
    expect(await linesOf(data)).toEqual([
      [0, "a"],
      [1, "invalid_json"],
      [2, "invalid_json"],
      [3, "b"],
    ]);
  });

  it.each([1, 5, 1000])("reports a line over the limit and goes on: pieces of %i", async (size) => {
    const data = bytes(`${"x".repeat(10)}\n${"y".repeat(11)}\n${"z".repeat(500)}\nend`);
    expect(await linesOf(data, { size, limit: 10 })).toEqual([
      [0, "x".repeat(10)],
      [1, "invalid_json"],
      [2, "invalid_json"],
      [3, "end"],
    ]);
  });

  it("tells how far it is", async () => {
    const ends: number[] = [];
    for await (const line of readLines(pieces(bytes("ab\n\ncä\nd"), 2))) ends.push(line.endByte);
    expect(ends).toEqual([3, 8, 9]);
  });

  it.each([
    ["of a thousand bytes each", 1000, 268_289],
    ["that are one long line, which is skipped", Number.POSITIVE_INFINITY, 1],
  ])("holds no more than the longest line of 256 MB %s", async (_, every, count) => {
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    async function* flood() {
      for (let i = 0; i < 256; i++) {
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
        yield new Uint8Array(1 << 20).map((_, index) => (index % every === every - 1 ? 0x0a : 0x61));
      }
    }
    let seen = 0;
    for await (const _line of readLines(flood(), 10_000)) seen++;
    expect(seen).toBe(count);
    expect(most).toBeLessThan(100 * 2 ** 20);
  });
});
