import { createHash } from "node:crypto";
import { appendFileSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { PreferenceFile } from "./preference-file.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "preference-file-"));
  file = path.join(folder, "pairs.jsonl");
});
afterEach(() => rmSync(folder, { recursive: true }));

const line = (chosen: string) => JSON.stringify({ messages: [{ role: "user", content: "?" }], chosen, rejected: "no" });

/** What a record's chosen answer is; the error's code of a bad one. */
const chosenOf = (read: Awaited<ReturnType<PreferenceFile["read"]>>) =>
  "error" in read ? read.error.code : read.preference.answers[0]?.content;

async function withFile<Result>(use: (file: PreferenceFile) => Promise<Result>): Promise<Result> {
  const opened = await PreferenceFile.open(file);
  try {
    return await use(opened);
  } finally {
    await opened.close();
  }
}

test("reads records in any order, and counts blank lines as lines", async () => {
  const text = `\uFEFF${line("a")}\r\n\n \t\r\n${line("b\u{1F600}")}\nnot json\n${line("d")}`;
  writeFileSync(file, text);
  await withFile(async (opened) => {
    expect(opened.length).toBe(4);
    expect([0, 1, 2, 3].map((record) => opened.lineOf(record))).toEqual([0, 3, 4, 5]);
    const read = async (record: number) => chosenOf(await opened.read(record));
    expect([await read(3), await read(0), await read(2), await read(1)]).toEqual([
      "d",
      "a",
      "invalid_json",
      "b\u{1F600}",
    ]);
    expect((await opened.read(3)).id).toBe(5);
    const all: unknown[] = [];
    for await (const record of opened.records()) all.push(chosenOf(record));
    expect(all).toEqual(["a", "b\u{1F600}", "invalid_json", "d"]);
    expect(opened.sha256).toBe(createHash("sha256").update(text).digest("hex"));
    await expect(opened.read(4)).rejects.toThrow(RangeError);
  });
});

test.each(["", "\n", "\uFEFF", "\uFEFF \n\r\n"])("there is nothing in %j", async (text) => {
  writeFileSync(file, text);
  expect(await withFile(async (opened) => opened.length)).toBe(0);
});

test("a line that is not UTF-8 is bad, the others are not", async () => {
  writeFileSync(file, Buffer.concat([Buffer.from(`${line("a")}\n"`), Buffer.of(0xff), Buffer.from(`"\n${line("c")}`)]));
  await withFile(async (opened) => {
    expect([0, 1, 2].map((record) => opened.lineOf(record))).toEqual([0, 1, 2]);
    expect(chosenOf(await opened.read(1))).toBe("invalid_json");
    expect(chosenOf(await opened.read(2))).toBe("c");
  });
});

test("lines across the pieces a file is read in, and one longer than a piece", async () => {
  const long = "x".repeat(5 * 2 ** 20);
  const answers = Array.from({ length: 60_000 }, (_, index) => (index === 30_000 ? long : `answer ${index}`));
  writeFileSync(file, answers.map(line).join("\n"));
  await withFile(async (opened) => {
    expect(opened.length).toBe(answers.length);
    let record = 0;
    for await (const read of opened.records()) expect(chosenOf(read) === answers[record++]).toBe(true);
    expect(record).toBe(answers.length);
    for (const index of [0, 29_999, 30_000, 30_001, 59_999]) {
      expect(chosenOf(await opened.read(index)) === answers[index]).toBe(true);
    }
  });
});

test("a file of a million lines is indexed, and any line read", async () => {
  const thousand = Array.from({ length: 1000 }, (_, index) => `${line(`answer ${index}`)}\n`).join("");
  for (let part = 0; part < 1000; part++) appendFileSync(file, thousand);
  await withFile(async (opened) => {
    expect(opened.length).toBe(1_000_000);
    expect(chosenOf(await opened.read(999_123))).toBe("answer 123");
    expect((await opened.read(999_123)).id).toBe(999_123);
  });
});

describe("a file that changes while it is in use", () => {
  const changed = { code: "input_unreadable", message: expect.stringContaining("was changed while it was in use") };

  test("by a line more", async () => {
    writeFileSync(file, `${line("a")}\n`);
    await withFile(async (opened) => {
      appendFileSync(file, line("b"));
      await expect(opened.read(0)).rejects.toMatchObject(changed);
    });
  });

  test("by as many other bytes", async () => {
    writeFileSync(file, line("a"));
    await withFile(async (opened) => {
      writeFileSync(file, line("b"));
      utimesSync(file, 1, 1); // later than the clock of the file system can tell
      await expect(opened.read(0)).rejects.toMatchObject(changed);
    });
  });
});

test("what cannot be read is said", async () => {
  await expect(PreferenceFile.open(file)).rejects.toMatchObject({ code: "input_unreadable" });
  await expect(PreferenceFile.open(folder)).rejects.toMatchObject({ code: "input_unreadable" });
});

test("stops when it is told to", async () => {
  writeFileSync(file, line("a"));
  await expect(PreferenceFile.open(file, AbortSignal.abort(new Error("stop")))).rejects.toThrow("stop");
});
