/** @file Added tokens with flags, against Hugging Face's tokenizers (test/fixtures/tokenizer/added-tokens.json). */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { ChatTemplate } from "./chat-template.ts";
import { tokenizeConversation } from "./conversation.ts";
import { Tokenizer } from "./tokenizer.ts";
import { type AddedToken, type TokenizerJson, tokenizerJson } from "./tokenizer-json.ts";

const read = (file: string): unknown => JSON.parse(readFileSync(file, "utf8"));
const tiny = tokenizerJson.parse(read("test/fixtures/untrained/tokenizer.json"));
const cases = read("test/fixtures/tokenizer/added-tokens.json") as {
  tokens: { name: string; added: AddedToken[]; texts: { text: string; ids: number[] }[] }[];
  conversations: { name: string; flags: { which: string[] } & Partial<AddedToken>; rendered: string; ids: number[] }[];
};

const withAdded = (added: readonly AddedToken[]): TokenizerJson => ({
  ...tiny,
  added_tokens: [...tiny.added_tokens, ...added],
});

describe.each(cases.tokens)("added tokens: $name", ({ added, texts }) => {
  const tokenizer = new Tokenizer(withAdded(added));

  test.each(texts)("$text", ({ text, ids }) => {
    expect(tokenizer.encodeText(text)).toEqual(ids);
    const placed = tokenizer.encodeWithPlaces(text);
    expect(placed.map(({ id }) => id)).toEqual(ids);
    const length = Array.from(text).length;
    for (const { start, end } of placed) expect(start < end && end <= length).toBe(true);
  });
});

/** Prints what the fixture's conversation is rendered as, whatever is asked. */
test.each(cases.conversations)("control tokens with flags: $name", ({ flags: { which, ...flags }, rendered, ids }) => {
  const added = tiny.added_tokens.map((token) => (which.includes(token.content) ? { ...token, ...flags } : token));
  const tokenizer = new Tokenizer({ ...tiny, added_tokens: added });
  const template = new ChatTemplate(
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}",
  );
  const messages = [
    { role: "system", content: "You are a helpful assistant." },
    { role: "user", content: "  hi \n" },
    { role: "assistant", content: "\n yes " },
  ] as const;
  expect(template.render(messages).map(({ text }) => text)).toEqual([rendered]);
  expect(tokenizeConversation(messages, tokenizer, template).ids).toEqual(ids);
});

test("tokens without a row in an embedding are told by their ids", () => {
  const memory = { content: "<memory>", single_word: false, lstrip: false, rstrip: false, special: false };
  const tokenizer = new Tokenizer(withAdded([{ ...memory, normalized: true, id: 1024 }]));
  expect([...tokenizer.beyond(1025)]).toEqual([]);
  expect([...tokenizer.beyond(1024)]).toEqual([[1024, "<memory>"]]);
  expect(tokenizer.beyond(1000).size).toBe(25);
});
