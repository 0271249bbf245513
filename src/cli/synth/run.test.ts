import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Message } from "../../conversation.ts";
import { readPreference } from "../../data/preference.ts";
import { readRecord } from "../../data/record.ts";
import { syntheticDocument } from "../../synthetic/document.ts";
import { writeSyntheticRecords } from "./run.ts";

const run = { seed: 5, split: "held-out", level: 2, size: 140, count: 40 } as const;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vl-reward-synth-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const linesOf = (file: string) => readFileSync(join(folder, file), "utf8").trimEnd().split("\n");

function imageOf(messages: readonly Message[]): string | undefined {
  const content = messages[0]?.content;
  const part = typeof content === "string" ? undefined : content?.[0];
  return part?.type === "image" ? part.image : undefined;
}

test("preferences and records are read back, and say what the generator's documents say", async () => {
  writeSyntheticRecords(folder, run);
  const documents = Array.from({ length: run.count }, (_, index) => syntheticDocument({ ...run, index }));
  const asked = documents.flatMap(({ questions, picture }) => questions.map((question) => ({ ...question, picture })));
  const preferences = linesOf("preferences.jsonl");
  const records = linesOf("records.jsonl");
  expect([preferences.length, records.length]).toEqual([asked.length, asked.length]);
  for (const [index, { right, wrong, category, picture }] of asked.entries()) {
    const read = readPreference(preferences[index] ?? "", index);
    if ("error" in read) throw read.error;
    const { answers, pairs, prefix, source } = read.preference;
    expect(source).toBe(category);
    expect(pairs.map(({ chosen }) => answers[chosen]?.content)).toEqual(wrong.map(() => right));
    expect(pairs.map(({ rejected }) => answers[rejected]?.content).sort()).toEqual([...wrong].sort());
    const image = imageOf(prefix);
    expect(image === undefined).toBe(picture === undefined);
    if (image !== undefined && picture) {
      expect((await sharp(join(folder, image)).raw().toBuffer()).equals(picture.data)).toBe(true);
    }

    const line = records[index] ?? "";
    const scored = readRecord(line, index);
    if ("error" in scored || scored.record.kind !== "candidates") throw new Error(line);
    expect(imageOf(scored.record.prompt)).toBe(image);
    expect(scored.record.answers[JSON.parse(line).right]?.content).toBe(right);
    expect(scored.record.answers.length).toBeLessThanOrEqual(8);
  }
});

test("a folder with something in it is left alone", () => {
  writeFileSync(join(folder, "mine.txt"), "");
  expect(() => writeSyntheticRecords(folder, run)).toThrow(`${folder} is not empty; name a new folder.`);
  expect(readdirSync(folder)).toEqual(["mine.txt"]);
});

test("a folder that cannot be made is named", () => {
  writeFileSync(join(folder, "file"), "");
  const out = join(folder, "file", "inside");
  expect(() => writeSyntheticRecords(out, run)).toThrow(`${out} cannot be written`);
  expect(existsSync(out)).toBe(false);
});
