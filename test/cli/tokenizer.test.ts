/** @file `tokenizer train` end to end: what it writes has the ids that the format's rules give. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ChatTemplate } from "../../src/tokenizer/chat-template.ts";
import { Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { run } from "./command.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tokenizer-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const train = (...flags: readonly string[]) => run(["tokenizer", "train", ...flags]);

it("learns from texts and records, and tells the ids for config.json", async () => {
  const [texts, records, out] = [join(folder, "a.txt"), join(folder, "b.jsonl"), join(folder, "out")];
  writeFileSync(texts, "red red red");
  const messages = [{ role: "user", content: "blue blue blue blue blue" }];
  writeFileSync(records, `${JSON.stringify({ messages, chosen: "cyan", rejected: "red" })}\n`);
  const flags = ["--vocab-size", "286", "--special", "<|think|>", "--out", out];
  const { code, stdout } = await train(texts, records, ...flags);
  expect(code).toBe(0);
  // By hand: 7 merges, of 5 occurrences each b+l, u+e, bl+ue; of 4 each e+d, r+ed, blank+blue; of 2 blank+red.
  const tokenizer = await Tokenizer.load(out);
  const lengths = ["blue", " blue", "red", " red", "blu"].map((text) => tokenizer.encodeText(text).length);
  expect(lengths).toEqual([1, 1, 1, 1, 2]);
  expect(JSON.parse(stdout)).toEqual({
    vocab_size: 286,
    bos_token_id: 263,
    eos_token_id: 265,
    vision_start_token_id: 272,
    vision_end_token_id: 273,
    vision_token_id: 274,
    image_token_id: 275,
    video_token_id: 276,
  });
  expect([...tokenizer.controlTokens.keys()].at(-1)).toBe("<|think|>");
  expect(tokenizer.controlTokens.get("<|think|>")).toBe(285); // the last of 286

  // Round trip: the characters of the vocabulary stand for bytes.
  const { model } = JSON.parse(readFileSync(join(out, "tokenizer.json"), "utf8"));
  const tokenOf = new Map(Object.entries<number>(model.vocab).map(([token, id]) => [id, token]));
  const spelt = tokenizer.encodeText("blue red").map((id) => tokenOf.get(id));
  expect(spelt.join("")).toBe("blueĠred");

  const template = await ChatTemplate.load(out);
  const shown = template.render([{ role: "user", content: "Hi" }]).map(({ text }) => text);
  expect(shown.join("")).toBe(
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n",
  );

  await train(texts, records, "--vocab-size", "286", "--special", "<|think|>", "--out", join(folder, "again"));
  for (const name of ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "chat_template.json"]) {
    expect(readFileSync(join(folder, "again", name))).toEqual(readFileSync(join(out, name)));
  }
});

it("names the line of a record that it cannot read, and writes nothing", async () => {
  const file = join(folder, "bad.jsonl");
  writeFileSync(file, '{"messages": [{"role": "user", "content": "a"}]}\n{"messages": 3}\n');
  const { code, stderr } = await train(file, "--vocab-size", "300", "--out", join(folder, "out"));
  expect(code).toBe(2);
  expect(stderr).toContain(`${file}:2: messages: expected a list of messages, found the number 3`);
});

it("refuses what is missing", async () => {
  const { code, stderr } = await train(join(folder, "none.txt"), "--vocab-size", "300", "--out", folder);
  expect(code).toBe(2);
  expect(stderr).toContain("none.txt cannot be read");
  expect((await train("a.txt")).stderr).toContain("required option '--vocab-size <n>'");
});
