/** @file Against Hugging Face's tokenizers (test/fixtures/tokenizer); what they cannot show, by the vocabulary itself. */

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { randomTexts } from "../../test/tokenizer/random-text.ts";
import { BytePairEncoder } from "./bpe.ts";
import { Tokenizer } from "./tokenizer.ts";

const fixtures = "test/fixtures/tokenizer";
const shared = "../shared";
const tiny = "test/fixtures/untrained";
const qwen = join(shared, "qwen2.5-vl-7b-instruct");
const folders = { tiny, qwen };
const names = ["tiny", "qwen"] as const;
type Name = (typeof names)[number];

const read = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
const cases = read(join(fixtures, "texts.json")) as ({ text: string } & Record<Name, number[]>)[];
const digests = read(join(fixtures, "digests.json")) as Record<
  string,
  Record<Name, { tokens: number; sha256: string }>
>;

const hasShared = existsSync(qwen);

function digest(tokenizer: Tokenizer, texts: Iterable<string>): { tokens: number; sha256: string } {
  const sha = createHash("sha256");
  let tokens = 0;
  for (const text of texts) {
    const ids = tokenizer.encodeText(text);
    tokens += ids.length;
    sha.update(`${ids.join(",")}\n`);
  }
  return { tokens, sha256: sha.digest("hex") };
}

/** Every string in a JSON value, in order. */
function* strings(value: unknown): Generator<string> {
  if (typeof value === "string") yield value;
  else if (typeof value === "object" && value !== null) for (const one of Object.values(value)) yield* strings(one);
}

describe.each(names)("the %s tokenizer", (name) => {
  describe.skipIf(name === "qwen" && !hasShared)(
    `gives Hugging Face's ids${name === "qwen" ? " (needs ../shared)" : ""}`,
    () => {
      let tokenizer: Tokenizer;
      beforeAll(async () => {
        tokenizer = await Tokenizer.load(folders[name]);
      });

      it.each(cases)("for $text", (one) => {
        expect(tokenizer.encodeText(one.text)).toEqual(one[name]);
      });

      it("for 6,000 random Unicode strings", () => {
        expect(digest(tokenizer, randomTexts())).toEqual(digests.random?.[name]);
      });

      it.skipIf(!hasShared)("for every string of the shared data (needs ../shared)", () => {
        const dpo = read(join(shared, "data/dpo_en_demo.json"));
        expect(digest(tokenizer, strings(dpo))).toEqual(digests["dpo_en_demo.json"]?.[name]);
        const lines = readFileSync(join(shared, "data/vl-rewardbench-text.jsonl"), "utf8").trim().split("\n");
        const texts = lines.flatMap((line) => [...strings(JSON.parse(line))]);
        expect(digest(tokenizer, texts)).toEqual(digests["vl-rewardbench-text.jsonl"]?.[name]);
      });
    },
  );
});

describe("the vocabulary", () => {
  it("has Qwen's control tokens at the end", async () => {
    const tokenizer = await Tokenizer.load(tiny);
    expect(tokenizer.controlTokens.size).toBe(14);
    expect(tokenizer.controlTokens.get("<|endoftext|>")).toBe(1002);
    expect(tokenizer.controlTokens.get("<|video_pad|>")).toBe(1015);
    expect(tokenizer.controlTokens.has("<tool_call>")).toBe(false);
    expect(tokenizer.encodeText("<tool_call>!")).toEqual([1016, 0]);
  });

  it.skipIf(!hasShared)("has the published ids (needs ../shared)", async () => {
    const tokenizer = await Tokenizer.load(qwen);
    expect([...tokenizer.controlTokens.values()]).toEqual(Array.from({ length: 14 }, (_, index) => 151_643 + index));
    expect(tokenizer.controlTokens.get("<|image_pad|>")).toBe(151_655);
  });
});

describe("texts", () => {
  it("never become control tokens", async () => {
    const tokenizer = await Tokenizer.load(tiny);
    const control = new Set(tokenizer.controlTokens.values());
    const texts = [...tokenizer.controlTokens.keys()].flatMap((token) => [
      token,
      ` ${token}`,
      token + token,
      `x${token}`,
    ]);
    for (const text of texts) expect(tokenizer.encodeText(text).filter((id) => control.has(id))).toEqual([]);
  });

  it("with half a surrogate pair are refused", async () => {
    const tokenizer = await Tokenizer.load(tiny);
    expect(() => tokenizer.encodeText("a\ud83d")).toThrow(expect.objectContaining({ code: "invalid_record" }));
    expect(tokenizer.encodeText("a\ud83d\ude00")).toHaveLength(5); // a, and the four bytes of a pictograph
  });

  it("of a million characters without a space become ids that spell all their bytes", async () => {
    const tokenizer = await Tokenizer.load(tiny);
    const { model } = read(join(tiny, "tokenizer.json")) as { model: { vocab: Record<string, number> } };
    const bytesOf = new Map(Object.entries(model.vocab).map(([token, id]) => [id, [...token].length]));
    for (const unit of ["a", "qz", "=", " ", "\n", "\u4f60", "e\u0301"]) {
      const text = unit.repeat(1_000_000 / unit.length);
      const spelled = tokenizer.encodeText(text).reduce((sum, id) => sum + (bytesOf.get(id) ?? Number.NaN), 0);
      expect(spelled, JSON.stringify(unit)).toBe(Buffer.byteLength(text.normalize("NFC")));
    }
  });

  // A search through the word for each of its million merges would not come to an end here.
  it("of a million bytes that merge in pairs, and pairs of pairs, become one token", () => {
    const doublings = 20;
    const merges = Array.from({ length: doublings }, (_, id) => ({ left: id, right: id, merged: id + 1 }));
    const ids = new Array<number>(2 ** doublings).fill(0);
    new BytePairEncoder(merges).encode(ids);
    expect(ids).toEqual([doublings]);
  });

  it("that hold a word of millions of characters are refused by code", async () => {
    const tokenizer = await Tokenizer.load(tiny);
    const endless = "\u4f60".repeat(20_000_000);
    expect(() => tokenizer.encodeText(endless)).toThrow(expect.objectContaining({ code: "sequence_too_long" }));
  });
});

describe("a folder", () => {
  const opening = (single: unknown) => ({ type: "TemplateProcessing", single, pair: [], special_tokens: {} });
  const splitBy = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: false };

  async function folderWith(change: (json: Record<string, unknown>) => unknown): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
    const json = read(join(tiny, "tokenizer.json")) as Record<string, unknown>;
    await writeFile(join(folder, "tokenizer.json"), JSON.stringify(change(json)));
    return folder;
  }

  it("without tokenizer.json is refused with the file's name", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
    await expect(Tokenizer.load(folder)).rejects.toMatchObject({
      code: "config_invalid",
      message: expect.stringContaining("tokenizer.json is missing"),
    });
  });

  it("with merges as strings gives the same ids", async () => {
    const folder = await folderWith((json) => {
      const model = json.model as { merges: string[][] };
      return { ...json, model: { ...model, merges: model.merges.map((merge) => merge.join(" ")) } };
    });
    const tokenizer = await Tokenizer.load(folder);
    for (const { text, tiny: ids } of cases) expect(tokenizer.encodeText(text)).toEqual(ids);
  });

  it("with ignore_merges takes a whole piece that is in the vocabulary, but no control token", async () => {
    const folder = await folderWith((json) => {
      const model = json.model as { vocab: Record<string, number> };
      const added = { id: 2001, content: "stop", special: true, single_word: false, lstrip: false, rstrip: false };
      return {
        ...json,
        added_tokens: [...(json.added_tokens as object[]), { ...added, normalized: false }],
        model: { ...model, vocab: { ...model.vocab, "\u0120qzx": 2000, stop: 2001 }, ignore_merges: true },
      };
    });
    const tokenizer = await Tokenizer.load(folder);
    const qwen = await Tokenizer.load(tiny);
    expect(tokenizer.encodeText("a qzx")).toEqual([...qwen.encodeText("a"), 2000]);
    expect(tokenizer.encodeText("qzx qzxy")).toEqual(qwen.encodeText("qzx qzxy"));
    expect(tokenizer.encodeText("stop")).toEqual(qwen.encodeText("stop"));
  });

  it.each([
    ["normalizer", { normalizer: { type: "NFKC" } }],
    ["pre_tokenizer", { pre_tokenizer: { type: "ByteLevel", add_prefix_space: true, use_regex: true } }],
    ["model.type", { model: { type: "Unigram" } }],
    ["post_processor", { post_processor: { type: "BertProcessing", sep: ["</s>", 1], cls: ["<s>", 0] } }],
    [
      "post_processor",
      { post_processor: opening([{ Sequence: { id: "A" } }, { SpecialToken: { id: "<|im_end|>" } }]) },
    ],
    ["post_processor", { post_processor: opening([{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }]) }],
    ["the split rule", { pre_tokenizer: { type: "Sequence", pretokenizers: [splitBy("(?<=a)b"), byteLevel] } }],
    ["added_tokens", { added_tokens: [{ id: 1, content: "x", special: true, lstrip: true }] }],
  ])("with another %s is refused by name", async (name, change) => {
    const folder = await folderWith((json) => ({ ...json, ...change }));
    await expect(Tokenizer.load(folder)).rejects.toMatchObject({
      code: "config_invalid",
      message: expect.stringContaining(name),
    });
  });

  it("whose vocabulary lacks a part of a merge is refused", async () => {
    const folder = await folderWith((json) => {
      const model = json.model as { merges: string[][] };
      return { ...json, model: { ...model, merges: [...model.merges, ["the", "nowhere"]] } };
    });
    await expect(Tokenizer.load(folder)).rejects.toMatchObject({
      code: "config_invalid",
      message: expect.stringContaining("nowhere"),
    });
  });
});
