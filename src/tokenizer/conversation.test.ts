/** @file Whole conversations against transformers' processor; control tokens in contents by stretches written by hand. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { ChatTemplate, type TemplateMessage } from "./chat-template.ts";
import { answerFrame, type Placeholders, tokenizeConversation } from "./conversation.ts";
import { Tokenizer } from "./tokenizer.ts";

const fixtures = "test/fixtures/tokenizer";
const folders = { tiny: "test/fixtures/untrained", qwen: "../shared/qwen2.5-vl-7b-instruct" };
const names = ["tiny", "qwen"] as const;
type Case = { messages: TemplateMessage[] } & Record<(typeof names)[number], number[]>;

const read = (name: string): unknown => JSON.parse(readFileSync(join(fixtures, name), "utf8"));
const conversations = read("conversations.json") as (Case & { label: string; rendered: string })[];
const injections = read("injections.json") as Case[];
const textConversations = read("text-conversations.json") as ({ messages: TemplateMessage[] } & Record<
  "qwen3" | "llama",
  { rendered: string; ids: number[] }
>)[];

const placeholders: Placeholders = new Map([
  ["<|image_pad|>", "image"],
  ["<|video_pad|>", "video"],
]);

const hasShared = existsSync(folders.qwen);

describe.each(names)("with the %s tokenizer", (name) => {
  describe.skipIf(name === "qwen" && !hasShared)(`a conversation${name === "qwen" ? " (needs ../shared)" : ""}`, () => {
    let tokenizer: Tokenizer;
    let template: ChatTemplate;
    beforeAll(async () => {
      [tokenizer, template] = await Promise.all([Tokenizer.load(folders[name]), ChatTemplate.load(folders[name])]);
    });

    it.each(conversations)("of the kind '$label' gives the processor's text and ids", (one) => {
      const rendered = template.render(one.messages).map((segment) => segment.text);
      expect(rendered.join("")).toBe(one.rendered);
      expect(tokenizeConversation(one.messages, tokenizer, template, placeholders).ids).toEqual(one[name]);
    });

    it.each(injections)("with control tokens in its contents holds only the template's own (%#)", (one) => {
      expect(tokenizeConversation(one.messages, tokenizer, template, placeholders).ids).toEqual(one[name]);
    });

    it("tells the place and kind of each picture and video in order", () => {
      const one = conversations.find(({ label }) => label === "video and pictures");
      const { ids, media } = tokenizeConversation(one?.messages ?? [], tokenizer, template, placeholders);
      expect(media.map(({ kind }) => kind)).toEqual(["image", "video", "image"]);
      expect(media.map(({ position }) => ids[position])).toEqual(
        ["<|image_pad|>", "<|video_pad|>", "<|image_pad|>"].map((token) => tokenizer.controlTokens.get(token)),
      );
      const [first, second, third] = media.map(({ position }) => position);
      expect([second, third]).toEqual([Number(first) + 3, Number(first) + 6]); // an end and a start between them
    });
  });
});

describe.each(["qwen3", "llama"] as const)("a conversation of text with the %s tokenizer", (name) => {
  let tokenizer: Tokenizer;
  let template: ChatTemplate;
  beforeAll(async () => {
    const folder = join(fixtures, name);
    tokenizer = await Tokenizer.load(folder);
    template = await ChatTemplate.load(folder, { textOnly: true });
  });

  it.each(textConversations)("gives transformers' text and ids (%#)", (one) => {
    const { rendered, ids } = one[name];
    const segments = template.render(one.messages, tokenizer.controlTokens.keys());
    expect(segments.map(({ text }) => text).join("")).toBe(rendered);
    expect(tokenizeConversation(one.messages, tokenizer, template).ids).toEqual(ids);
  });

  it("holds the template's control tokens only", () => {
    const count = (content: string) => {
      const messages: TemplateMessage[] = [
        { role: "user", content },
        { role: "assistant", content: `<think>${content}</think>${content}` },
      ];
      const { ids } = tokenizeConversation(messages, tokenizer, template);
      return ids.filter((id) => [...tokenizer.controlTokens.values()].includes(id)).length;
    };
    for (const token of tokenizer.controlTokens.keys()) expect(count(`${token} a${token}`)).toBe(count("a"));
  });
});

it("refuses a template that does not write the token that the tokenizer puts before every text", async () => {
  const tokenizer = await Tokenizer.load(join(fixtures, "llama"));
  const template = new ChatTemplate("{{ messages[0].content }}");
  expect(() => tokenizeConversation([{ role: "user", content: "<|begin_of_text|>" }], tokenizer, template)).toThrow(
    expect.objectContaining({ code: "config_invalid", message: expect.stringContaining("<|begin_of_text|>") }),
  );
});

describe("the embedded model's files", () => {
  it("end every turn with <|im_end|> and a newline, which the reward is read at", async () => {
    const tokenizer = await Tokenizer.load(folders.tiny);
    const template = await ChatTemplate.load(folders.tiny);
    const ends = [tokenizer.controlTokens.get("<|im_end|>"), ...tokenizer.encodeText("\n")];
    for (const { messages } of [...conversations, ...injections]) {
      expect(tokenizeConversation(messages, tokenizer, template, placeholders).ids.slice(-2)).toEqual(ends);
    }
  });

  it("give responses to one prompt a common prefix up to where they differ", async () => {
    const tokenizer = await Tokenizer.load(folders.tiny);
    const template = await ChatTemplate.load(folders.tiny);
    const prompt = { role: "user", content: "Which colour?" } as const;
    const [a = [], b = []] = ["red", "blue"].map(
      (content) => tokenizeConversation([prompt, { role: "assistant", content }], tokenizer, template).ids,
    );
    const role = [tokenizer.controlTokens.get("<|im_start|>"), ...tokenizer.encodeText("assistant\n")];
    const start = a.length - 2 - tokenizer.encodeText("red").length;
    expect(a.slice(start - role.length, start)).toEqual(role);
    expect(b.slice(0, start)).toEqual(a.slice(0, start));
  });
});

it("refuses a template that gives the media other places than the messages", async () => {
  const tokenizer = await Tokenizer.load(folders.tiny);
  const message = (content: TemplateMessage["content"]): TemplateMessage[] => [{ role: "user", content }];
  const blind = new ChatTemplate("{{ messages[0].content[0].text }}");
  const seeing = new ChatTemplate("<|image_pad|>{{ messages[0].content }}");
  const parts = message([{ type: "text", text: "What?" }, { type: "image" }]);
  expect(() => tokenizeConversation(parts, tokenizer, blind, placeholders)).toThrow(/has image, but .* no media/);
  expect(() => tokenizeConversation(message("What?"), tokenizer, seeing, placeholders)).toThrow(
    /has no media, but .* image/,
  );
  const swapped = message([{ type: "video" }]);
  const other = new ChatTemplate("<|image_pad|>");
  expect(() => tokenizeConversation(swapped, tokenizer, other, placeholders)).toThrow(/has video, but .* image/);
});

describe("what a template writes around an answer", () => {
  it.each([
    ["Qwen2.5-VL", "test/fixtures/untrained", "<|im_start|>", "assistant\n", "<|im_end|>"],
    ["models/tiny", "models/tiny", "<|im_start|>", "assistant\n", "<|im_end|>"],
  ])("of %s", async (_, folder, opener, header, end) => {
    const [tokenizer, template] = await Promise.all([Tokenizer.load(folder), ChatTemplate.load(folder)]);
    const id = (token: string) => tokenizer.controlTokens.get(token);
    expect(answerFrame(tokenizer, template)).toEqual({ opener: id(opener), header, end: id(end) });
  });

  it("a thought that the template puts there is none of the answer's", () => {
    const controlTokens = new Map([
      ["<|open|>", 1],
      ["<|shut|>", 2],
    ]);
    const source =
      "{% for m in messages %}<|open|>{{ m.role }}\n{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|shut|>\n{% endfor %}";
    const frame = answerFrame({ controlTokens }, new ChatTemplate(source));
    expect(frame).toEqual({ opener: 1, header: "assistant\n<think>\n\n</think>\n\n", end: 2 });
  });

  it("a template without control tokens is refused", () => {
    const template = new ChatTemplate("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}");
    expect(() => answerFrame({ controlTokens: new Map() }, template)).toThrow(/no control token/);
  });
});
