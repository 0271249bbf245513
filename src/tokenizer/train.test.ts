/** @file The trainer against Hugging Face's BpeTrainer on the same texts (test/fixtures/tokenizer). */

import { readFileSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { randomTexts } from "../../test/tokenizer/random-text.ts";
import { saveTokenizer, trainTokenizer } from "./train.ts";

const merges = JSON.parse(readFileSync("test/fixtures/tokenizer/trained-merges.json", "utf8")) as {
  corpus: [string, string][];
  random: [string, string][];
};
const corpus = readFileSync("models/tiny/corpus.txt", "utf8");

it("learns the same merges from the embedded model's corpus", () => {
  expect(trainTokenizer([corpus], 1024).model.merges).toEqual(merges.corpus);
});

it("learns the same merges from random Unicode, where most pairs are equally frequent", () => {
  const texts = [...randomTexts().slice(0, 400), "aaaa aaaaaaa abab ababab"];
  expect(trainTokenizer(texts, 600 + 22).model.merges).toEqual(merges.random);
});

it("gives the embedded model's files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "trained-"));
  await saveTokenizer(folder, trainTokenizer([corpus], 1024));
  for (const name of ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"]) {
    expect(await readFile(join(folder, name), "utf8"), name).toBe(await readFile(join("models/tiny", name), "utf8"));
  }
});

it("refuses a vocabulary that leaves no merge, and texts that are too few", () => {
  expect(() => trainTokenizer([corpus], 278)).toThrow(expect.objectContaining({ code: "usage" }));
  expect(trainTokenizer([corpus], 279).model.merges).toEqual(merges.corpus.slice(0, 1));
  expect(() => trainTokenizer(["abc"], 400)).toThrow(expect.objectContaining({ code: "usage" }));
});
