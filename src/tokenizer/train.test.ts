/** @file The trainer against Hugging Face's BpeTrainer on the same texts (test/fixtures/tokenizer). */

import { readFileSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { randomTexts } from "../../test/tokenizer/random-text.ts";
import { Tokenizer } from "./tokenizer.ts";
import { saveTokenizer, trainTokenizer } from "./train.ts";

const merges = JSON.parse(readFileSync("test/fixtures/tokenizer/trained-merges.json", "utf8")) as {
  corpus: [string, string][];
  random: [string, string][];
};
const corpus = readFileSync("models/tiny-init/corpus.txt", "utf8");

it("learns the same merges from the embedded model's corpus", async () => {
  expect((await trainTokenizer([corpus], 1024)).model.merges).toEqual(merges.corpus);
});

it("learns the same merges from random Unicode, where most pairs are equally frequent", async () => {
  const texts = [...randomTexts().slice(0, 400), "aaaa aaaaaaa abab ababab"];
  expect((await trainTokenizer(texts, 600 + 22)).model.merges).toEqual(merges.random);
});

it("gives the embedded model's files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "trained-"));
  await saveTokenizer(folder, await trainTokenizer([corpus], 1024));
  for (const name of ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"]) {
    expect(await readFile(join(folder, name), "utf8"), name).toBe(
      await readFile(join("test/fixtures/untrained", name), "utf8"),
    );
  }
});

it("puts further control tokens behind Qwen's, where no text can spell them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "trained-"));
  await saveTokenizer(folder, await trainTokenizer([corpus], 402, ["<|think|>", "<|/think|>"]), "{{ messages }}");
  const tokenizer = await Tokenizer.load(folder);
  expect(tokenizer.encodeText("<|file_sep|>")).toEqual([399]);
  expect([tokenizer.controlTokens.get("<|think|>"), tokenizer.controlTokens.get("<|/think|>")]).toEqual([400, 401]);
  expect(tokenizer.encodeText("<|think|>")).not.toContain(400);
  const config = JSON.parse(await readFile(join(folder, "tokenizer_config.json"), "utf8"));
  expect(config.additional_special_tokens.slice(-2)).toEqual(["<|think|>", "<|/think|>"]);
  expect(config.chat_template).toBe("{{ messages }}");
  const own = JSON.parse(await readFile(join(folder, "chat_template.json"), "utf8"));
  expect(own).toEqual({ chat_template: "{{ messages }}" });
});

it("refuses a vocabulary that leaves no merge, texts that are too few, and a token that is there", async () => {
  const refused = expect.objectContaining({ code: "usage" });
  await expect(trainTokenizer([corpus], 278)).rejects.toEqual(refused);
  expect((await trainTokenizer([corpus], 279)).model.merges).toEqual(merges.corpus.slice(0, 1));
  await expect(trainTokenizer(["abc"], 400)).rejects.toEqual(refused);
  await expect(trainTokenizer([corpus], 400, ["<|im_end|>"])).rejects.toEqual(refused);
});
