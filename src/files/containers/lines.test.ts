import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { describe, expect, it, test } from "vitest";
import { linesOf } from "./lines.ts";

const folder = fileURLToPath(new URL("../../../test/fixtures/records/", import.meta.url));

/** @param file whether it can be read at any place, as a file on disk can */
async function read(bytes: Buffer, { file = true, size = 1000 } = {}) {
  const chunks = (async function* () {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  })();
  const random = { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) };
  const found: unknown[] = [];
  for await (const { number, endByte, content } of linesOf({ name: "x", chunks, file: file ? random : undefined })) {
    expect(number).toBe(found.length);
    expect(endByte).toBeLessThanOrEqual(bytes.length);
    found.push(typeof content === "string" ? JSON.parse(content) : content);
  }
  return found;
}

const fixture = (name: string) => readFileSync(folder + name);
const records = fixture("pairs.jsonl")
  .toString()
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));

test.each([
  "pairs.jsonl",
  "pairs.jsonl.gz",
  "pairs.jsonl.zst",
  "pairs-utf16be.jsonl",
  "pairs-list.json",
  "pairs-list.json.gz",
  "pairs-objects.json",
  "pairs.parquet",
])("%s has the records that were written into it", async (name) => {
  for (const size of [1, 100, 100_000]) expect(await read(fixture(name), { size })).toEqual(records);
});

test("UTF-16 in either order, with and without a byte order mark", async () => {
  const text = fixture("pairs.jsonl").toString();
  const little = Buffer.from(text, "utf16le");
  const big = Buffer.from(little).swap16();
  for (const bytes of [little, big, Buffer.from(`\uFEFF${text}`, "utf16le")])
    expect(await read(bytes)).toEqual(records);
});

describe("parquet", () => {
  const picture = fixture("dot.png").toString("base64");
  const asked = { question: "Which colour?", chosen: "Red.", rejected: "Blue." };

  test.each(["pictures-bytes-first.parquet", "pictures-path-first.parquet"])(
    "%s holds pictures or says where they are",
    async (name) => {
      const image = { bytes: picture, path: null };
      const rows = [0, 1, 2].map((idx) => ({ idx, image, ...asked }));
      expect(await read(fixture(name))).toEqual([
        ...rows,
        { idx: 3, image: { bytes: null, path: "dot.png" }, ...asked },
      ]);
    },
  );

  test("lists of pictures, and plain bytes", async () => {
    expect(await read(fixture("pictures-list.parquet"))).toEqual([
      expect.objectContaining({
        images: [
          { bytes: picture, path: "a.png" },
          { bytes: picture, path: null },
        ],
      }),
    ]);
    expect(await read(fixture("pictures-plain.parquet"))).toEqual([{ image: { bytes: picture }, ...asked }]);
  });

  it("says what a pipe lacks, and what a damaged file has", async () => {
    const bytes = fixture("pairs.parquet");
    await expect(read(bytes, { file: false })).rejects.toMatchObject({
      code: "input_unreadable",
      message: expect.stringContaining("pipe"),
    });
    for (let cut = 4; cut < bytes.length; cut += 37) {
      await expect(read(bytes.subarray(0, cut))).rejects.toMatchObject({ code: "input_unreadable" });
    }
  });
});

describe("what is damaged or of another kind", () => {
  it.each(["pairs.jsonl.gz", "pairs.jsonl.zst"])("%s that is cut short", async (name) => {
    const bytes = fixture(name);
    for (const cut of [12, bytes.length >> 1, bytes.length - 1]) {
      await expect(read(bytes.subarray(0, cut))).rejects.toMatchObject({
        code: "input_unreadable",
        message: expect.stringContaining("damaged or cut short"),
      });
    }
  });

  it.each<[what: string, bytes: Buffer]>([
    ["zip", Buffer.from("PK\x03\x04 and so on")],
    ["bzip2", Buffer.from("BZh91AY&SY")],
    ["xz", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00])],
    ["Arrow", Buffer.from("ARROW1\0\0")],
    ["comma- or tab-separated", Buffer.from("prompt,chosen,rejected\na,b,c\nd,e,f\n")],
    ["comma- or tab-separated", Buffer.from("prompt\tchosen\trejected\na\tb\tc\n")],
    ["UTF-32", Buffer.from([0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0])],
    ["picture", fixture("dot.png")],
  ])("%s is one error that says how to convert", async (what, bytes) => {
    await expect(read(bytes)).rejects.toMatchObject({
      code: "input_unreadable",
      message: expect.stringMatching(new RegExp(`${what}.*expected JSON Lines`)),
    });
  });

  it("a line that is no record does not change what the file is", async () => {
    const text = 'oops\n{"a": 1}\n';
    const found: unknown[] = [];
    const chunks = (async function* () {
      yield Buffer.from(text);
    })();
    for await (const { content } of linesOf({ name: "x", chunks })) found.push(content);
    expect(found).toEqual(["oops", '{"a": 1}']);
  });
});

test("packed files stream: the first records come before the last bytes are asked for", async () => {
  const incompressible = Array.from({ length: 200 }, () => JSON.stringify({ text: randomBytes(5000).toString("hex") }));
  const bytes = gzipSync(incompressible.join("\n"));
  let asked = 0;
  const chunks = (async function* () {
    for (let at = 0; at < bytes.length; at += 10_000) {
      asked = at + 10_000;
      yield bytes.subarray(at, at + 10_000);
    }
  })();
  for await (const { number } of linesOf({ name: "x", chunks })) {
    if (number > 0) continue;
    expect(asked).toBeLessThan(bytes.length / 2);
  }
});
