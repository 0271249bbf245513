/** @file Places against Hugging Face's offset_mapping (test/fixtures/tokenizer); in an answer, by the answer itself. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { ChatTemplate } from "./chat-template.ts";
import { tokenizeConversation } from "./conversation.ts";
import { placesInAnswer } from "./places.ts";
import { Tokenizer } from "./tokenizer.ts";

const fixtures = "test/fixtures/tokenizer";
const folders = { tiny: "test/fixtures/untrained", qwen3: join(fixtures, "qwen3"), llama: join(fixtures, "llama") };
const names = ["tiny", "qwen3", "llama"] as const;

type Placed = [id: number, start: number, end: number];
const cases = JSON.parse(readFileSync(join(fixtures, "places.json"), "utf8")) as ({ text: string } & Record<
  (typeof names)[number],
  Placed[]
>)[];

/** Where NFC composes, the reference leaves all but the first character to no token: here the token before has them. */
function withoutGaps(tokens: readonly Placed[], text: string): Placed[] {
  return tokens.map(([id, start, end], index) => {
    const next = tokens.slice(index).find((token) => token[1] > start)?.[1] ?? Array.from(text).length;
    return [id, start, Math.max(end, next)];
  });
}

describe.each(names)("the places of the %s tokenizer's tokens", (name) => {
  it.each(cases)("are Hugging Face's: $text", async (one) => {
    const tokenizer = await Tokenizer.load(folders[name]);
    const found = tokenizer.encodeWithPlaces(one.text);
    const expected = name === "llama" ? one[name] : withoutGaps(one[name], one.text); // Llama's does not compose
    expect(found.map(({ id, start, end }) => [id, start, end])).toEqual(expected);
    expect(tokenizer.encodeText(one.text)).toEqual(found.map(({ id }) => id));
  });
});

describe("an answer's own text", () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await Tokenizer.load(folders.qwen3);
  });

  /** The slices of different places, joined. */
  const covered = (stretch: string, answer: string): string => {
    const places = placesInAnswer(tokenizer, stretch, answer);
    expect(places).toHaveLength(tokenizer.encodeText(stretch).length);
    const signs = Array.from(answer);
    for (const { text, start, end } of places) expect(text).toBe(signs.slice(start, end).join(""));
    const different = places.filter((place, index) => place.end !== places[index - 1]?.end);
    return different.map(({ text }) => text).join("");
  };

  it.each([
    ["assistant\nYes, it is.", "Yes, it is.", "Yes, it is."],
    ["assistant\n<think>\n\n</think>\n\nYes.", "Yes.", "Yes."],
    ["assistant\n<think>\n\n</think>\n\nYes.", "\n Yes.  \n", "Yes."],
    [
      "assistant\n<think>\nHm.\n</think>\n\nYes.",
      "<think>\n\nHm.\n\n\n</think>\n\n\nYes.",
      "<think>\nHm.\n</think>\n\nYes.",
    ],
    ["assistant\n<think>\nHm.\n</think>\n\nYes.", "well<think>Hm.</think>Yes.", "<think>Hm.</think>Yes."],
    [
      "assistant\ne\u0301 \u1112\u1161\u11ab \u{1f600}",
      "e\u0301 \u1112\u1161\u11ab \u{1f600}",
      "e\u0301 \u1112\u1161\u11ab \u{1f600}",
    ],
    ["assistant\nassistant\n", "assistant\n", "assistant\n"],
    ["assistant\n", "", ""],
    ["assistant\n", " \n", "\n"], // whose line break it is cannot be told
    ["assistant\nother", "x", ""],
  ])("is covered by the tokens of %j as far as it is there: %j", (stretch, answer, expected) => {
    expect(covered(stretch, answer)).toBe(expected);
  });

  it("has no part in what the template wrote, and the place where that stands", () => {
    const places = placesInAnswer(tokenizer, "<think>\nHm.\n</think>\n\nYes.", "Hm.</think>Yes.");
    expect(places[0]).toEqual({ text: "", start: 0, end: 0 });
    const end = places.find(({ text }) => text === "</think>");
    expect(end).toEqual({ text: "</think>", start: 3, end: 11 });
    const between = places[places.indexOf(end ?? { text: "", start: 0, end: 0 }) + 1];
    expect(between).toEqual({ text: "", start: 11, end: 11 });
  });

  it("is given whole to each token of one character", () => {
    const places = placesInAnswer(tokenizer, "a\n\u{1f600}", "\u{1f600}");
    const parts = places.slice(-4);
    expect(parts).toEqual(parts.map(() => ({ text: "\u{1f600}", start: 0, end: 1 })));
  });

  it("is found in what a template has made of a conversation", async () => {
    const template = await ChatTemplate.load(folders.qwen3, { textOnly: true });
    const answer = "<think>\nA cafe\u0301?\n</think>\nYes: a <|im_end|>!";
    const messages = [{ role: "user", content: "Is it?" } as const, { role: "assistant", content: answer } as const];
    const { ids, stretches } = tokenizeConversation(messages, tokenizer, template);
    for (const { text, position } of stretches) {
      const encoded = tokenizer.encodeText(text);
      expect(ids.slice(position, position + encoded.length)).toEqual(encoded);
    }
    const opening = ids.lastIndexOf(tokenizer.controlTokens.get("<|im_start|>") ?? -1) + 1;
    const last = stretches.find(({ position }) => position === opening);
    expect(last?.text).toBe("assistant\n<think>\nA cafe\u0301?\n</think>\n\nYes: a <|im_end|>!");
    expect(covered(last?.text ?? "", answer)).toBe("<think>\nA cafe\u0301?\n</think>\nYes: a <|im_end|>!");
  });
});
