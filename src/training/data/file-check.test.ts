import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { familyOf } from "../../models/families.ts";
import { assertTrainable, type CheckedFile, type CheckOptions, checkFile, holdOut } from "./file-check.ts";
import { FileSource } from "./file-source.ts";

const parity = path.join(import.meta.dirname, "../../../test/fixtures/parity");
const counter = await familyOf(path.join(parity, "plain")).loadProcessor({ limits: {} });

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "dataset-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(records: readonly unknown[], name = "pairs.jsonl"): string {
  const file = path.join(folder, name);
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return file;
}

const check = (file: string, options: Partial<CheckOptions> = {}) =>
  checkFile(file, {
    counter,
    maxLength: 1000,
    tooLong: "drop",
    signal: new AbortController().signal,
    onProgress: () => {},
    ...options,
  });

const user = (content: unknown) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });
const text = { messages: [user("What is 2+2?")], chosen: "It is 4, of course.", rejected: "5" };
const picture = (image: string) => ({ ...text, messages: [user([{ type: "image_url", image_url: { url: image } }])] });

describe("the check", () => {
  test("tells every bad record's line and reason, and keeps the others", async () => {
    const file = write([
      text,
      { ...text, rejected: text.chosen },
      picture("none.png"),
      { messages: [user("?")], responses: ["a", "b", "c"], scores: [3, 1, 2] },
      picture(path.join(parity, "media/odd.jpg")),
    ]);
    appendFileSync(file, `\n{"chosen"\n${JSON.stringify(text)}\n`);
    const { report, checked } = await check(file);
    expect(report).toMatchObject({ path: file, records: 7, usable: 4, pairs: 6, lengthUnknown: 0 });
    expect(report.bad.count).toBe(3);
    expect(report.bad.first.map(({ line, code }) => [line, code])).toEqual([
      [2, "invalid_record"],
      [3, "media_not_found"],
      [7, "invalid_json"],
    ]);
    expect([...checked.records]).toEqual([0, 3, 4, 6]);
    expect([...checked.pairs]).toEqual([1, 3, 1, 1]);
  });

  test("counts tokens as the reference does", async () => {
    // The first answer's conversation is the case "text" of test/fixtures/parity, the longer of the two.
    const header = readFileSync(path.join(parity, "plain.expected.safetensors"));
    const { shape } = JSON.parse(header.toString("utf8", 8, 8 + Number(header.readBigUInt64LE())))["text-0/input_ids"];
    const { report } = await check(write([text]));
    expect(report.longest).toBe(shape.at(-1));
    const fits = await check(write([text]), { maxLength: report.longest });
    expect([fits.report.usable, fits.report.tooLong.dropped]).toEqual([1, 0]);
    const tooLong = await check(write([text]), { maxLength: report.longest - 1 });
    expect([tooLong.report.usable, tooLong.report.tooLong.dropped]).toEqual([0, 1]);
  });

  test("does not fetch addresses, and says that their length is not known", async () => {
    const { report } = await check(write([text, picture("https://localhost:1/a.png")]));
    expect(report).toMatchObject({ usable: 2, lengthUnknown: 1, bad: { count: 0 } });
  });

  test("shows the first hundred bad records and counts them all", async () => {
    const { report } = await check(write([text, ...Array.from({ length: 250 }, () => ({}))]));
    expect([report.bad.first.length, report.bad.count, report.bad.first[99]?.line]).toEqual([100, 250, 101]);
  });

  test("reports how far it is, and stops when it is told to", async () => {
    const file = write(Array.from({ length: 50 }, () => text));
    const seen: number[] = [];
    await check(file, { onProgress: ({ records, totalRecords }) => seen.push(records / totalRecords) });
    expect(seen).toEqual(Array.from({ length: 50 }, (_, index) => (index + 1) / 50));
    const stop = new AbortController();
    const stopped = check(file, { signal: stop.signal, onProgress: () => stop.abort(new Error("enough")) });
    await expect(stopped).rejects.toThrow("enough");
  });
});

describe("a conversation that is too long", () => {
  const turns = [user("One?"), assistant("1"), user("Two?"), assistant("2"), user("Three?")];
  const record = { messages: turns, chosen: "3", rejected: "It is four, not three, I am quite sure of that." };

  async function cutTo(maxLength: number, messages: readonly unknown[] = turns) {
    const file = write([text, { ...record, messages }, text]);
    const { checked, report } = await check(file, { maxLength, tooLong: "cut" });
    const source = await FileSource.open(checked);
    try {
      const kept = await Promise.all([...checked.records.keys()].map((index) => source.read(index)));
      return { report, kept: kept.map(({ preference }) => preference) };
    } finally {
      await source.close();
    }
  }

  test("loses its oldest turns until it fits, the same for both answers, which stay whole", async () => {
    const { report: whole } = await cutTo(1000);
    const lengths: number[] = [];
    for (const left of [turns.slice(2), turns.slice(4)]) {
      const { report, kept } = await cutTo((lengths.at(-1) ?? whole.longest) - 1);
      expect(report).toMatchObject({ usable: 3, tooLong: { cut: 1, dropped: 0, refused: 0 } });
      expect(kept[1]?.prefix).toEqual(left);
      expect(kept[1]?.answers).toEqual([assistant(record.chosen), assistant(record.rejected)]);
      expect(report.longest).toBeLessThan(lengths.at(-1) ?? whole.longest);
      lengths.push(report.longest);
    }
    const { report, kept } = await cutTo((lengths.at(-1) ?? 0) - 1);
    expect(report).toMatchObject({ usable: 2, tooLong: { cut: 0, dropped: 1 } });
    expect(kept.map(({ prefix }) => prefix)).toEqual([text.messages, text.messages]);
  });

  test("keeps its picture: it is dropped rather than asked about nothing", async () => {
    const image = { type: "image", image: path.join(parity, "media/tiny.png") };
    const seen = [user([image]), ...turns.slice(1)];
    const { report: whole } = await cutTo(1000, seen);
    const { report } = await cutTo(whole.longest - 1, seen);
    expect(report.tooLong).toEqual({ cut: 0, dropped: 1, refused: 0 });
  });

  test("refuses the run where that is asked for, even if bad records are skipped", async () => {
    const { report } = await check(write([text, record]), { maxLength: 60, tooLong: "error" });
    expect(report.tooLong).toEqual({ cut: 0, dropped: 0, refused: 1 });
    expect(() => assertTrainable([report], "skip", "1000 tokens")).toThrow(
      expect.objectContaining({ code: "sequence_too_long" }),
    );
  });
});

describe("whether training may begin", () => {
  test("bad records are an error or are set aside, by choice", async () => {
    const { report } = await check(write([text, picture("none.png")]));
    expect(() => assertTrainable([report], "skip", "1000 tokens")).not.toThrow();
    const message = expect.stringMatching(/1 of 2 records cannot be used, first line 2: none\.png does not exist/);
    expect(() => assertTrainable([report], "error", "1000 tokens")).toThrow(
      expect.objectContaining({ code: "media_not_found", message }),
    );
  });

  test("a file without a usable record is an error", async () => {
    const { report } = await check(write([]));
    expect(() => assertTrainable([report], "skip", "1000 tokens")).toThrow("is empty");
  });

  test("where none is left, what made it so is said", async () => {
    const messageOf = async (records: readonly unknown[]) => {
      const { report } = await check(write(records), { maxLength: 8 });
      try {
        assertTrainable([report], "skip", "max_length, 8 tokens");
        return undefined;
      } catch (error) {
        return error;
      }
    };
    const message = expect.stringMatching(/: its one record is longer than max_length, 8 tokens/);
    expect(await messageOf([text])).toMatchObject({ code: "sequence_too_long", message });
    const all = expect.stringMatching(/: all 2 records are longer than max_length, 8 tokens/);
    expect(await messageOf([text, text])).toMatchObject({ code: "sequence_too_long", message: all });
    const both = expect.stringMatching(
      /: none is left: 1 of 2 records cannot be used, first line 2: none\.png does not exist.*, and 1 are longer than/,
    );
    expect(await messageOf([text, picture("none.png")])).toMatchObject({ code: "media_not_found", message: both });
  });
});

describe("what is held out", () => {
  const asked = (prompt: number, answer: number) => ({
    ...text,
    messages: [user(`Question ${prompt}?`)],
    rejected: `${answer}`,
  });
  const records = Array.from({ length: 600 }, (_, index) => asked(index % 200, index));

  async function sides(files: readonly CheckedFile[]) {
    const { training, validation } = holdOut(files, 0.25);
    const promptsOf = (side: readonly CheckedFile[]) => new Set(side.flatMap(({ prompts }) => [...prompts]));
    return { training, validation, trained: promptsOf(training), heldOut: promptsOf(validation) };
  }

  test("is about the fraction, and no prompt stands on both sides, in whatever file", async () => {
    const files = [
      (await check(write(records.slice(0, 350), "a.jsonl"))).checked,
      (await check(write(records.slice(350), "b.jsonl"))).checked,
    ];
    const { training, validation, trained, heldOut } = await sides(files);
    expect(trained.size + heldOut.size).toBe(200);
    expect([...heldOut].filter((prompt) => trained.has(prompt))).toEqual([]);
    expect(Math.abs(heldOut.size - 50)).toBeLessThan(4 * Math.sqrt(200 * 0.25 * 0.75));
    const records0 = [...(training[0]?.records ?? []), ...(validation[0]?.records ?? [])];
    expect(records0.sort((a, b) => a - b)).toEqual(Array.from({ length: 350 }, (_, index) => index));
    for (const { pairs, tokens, droppedTurns, prompts, records: kept } of [...training, ...validation]) {
      expect([pairs, tokens, droppedTurns, prompts].map(({ length }) => length)).toEqual(Array(4).fill(kept.length));
    }
  });

  test("does not depend on the order of the records", async () => {
    const forwards = await sides([(await check(write(records, "a.jsonl"))).checked]);
    const backwards = await sides([(await check(write([...records].reverse(), "b.jsonl"))).checked]);
    expect([...backwards.heldOut].sort()).toEqual([...forwards.heldOut].sort());
  });
});

test("a file other than the one that was checked is refused", async () => {
  const file = write([text]);
  const { checked } = await check(file);
  write([{ ...text, rejected: "6" }]);
  await expect(FileSource.open(checked)).rejects.toMatchObject({ code: "input_unreadable" });
});

test("records are read with their folder and line", async () => {
  const file = write([{}, text]);
  const { checked } = await check(file);
  const source = await FileSource.open(checked);
  try {
    const { preference, baseFolder } = await source.read(0);
    expect([preference.id, baseFolder, source.placeOf(0)]).toEqual([1, folder, `${file}:2`]);
    expect([source.length, source.pairsOf(0)]).toEqual([1, 1]);
    await expect(source.read(1)).rejects.toThrow(RangeError);
  } finally {
    await source.close();
  }
});
