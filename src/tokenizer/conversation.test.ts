/** @file Whole conversations against transformers' processor; control tokens in contents by stretches written by hand. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { ChatTemplate, type TemplateMessage } from "./chat-template.ts";
import { tokenizeConversation } from "./conversation.ts";
import { Tokenizer } from "./tokenizer.ts";

const fixtures = "test/fixtures/tokenizer";
const folders = { tiny: "test/fixtures/untrained", qwen: "../shared/qwen2.5-vl-7b-instruct" };
const names = ["tiny", "qwen"] as const;
type Case = { messages: TemplateMessage[] } & Record<(typeof names)[number], number[]>;

const read = (name: string): unknown => JSON.parse(readFileSync(join(fixtures, name), "utf8"));
const conversations = read("conversations.json") as (Case & { label: string; rendered: string })[];
const injections = read("injections.json") as Case[];

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
      expect(tokenizeConversation(one.messages, tokenizer, template).ids).toEqual(one[name]);
    });

    it.each(injections)("with control tokens in its contents holds only the template's own (%#)", (one) => {
      expect(tokenizeConversation(one.messages, tokenizer, template).ids).toEqual(one[name]);
    });

    it("tells the place and kind of each picture and video in order", () => {
      const one = conversations.find(({ label }) => label === "video and pictures");
      const { ids, media } = tokenizeConversation(one?.messages ?? [], tokenizer, template);
      expect(media.map(({ kind }) => kind)).toEqual(["image", "video", "image"]);
      expect(media.map(({ position }) => ids[position])).toEqual(
        ["<|image_pad|>", "<|video_pad|>", "<|image_pad|>"].map((token) => tokenizer.controlTokens.get(token)),
      );
      const [first, second, third] = media.map(({ position }) => position);
      expect([second, third]).toEqual([Number(first) + 3, Number(first) + 6]); // an end and a start between them
    });
  });
});

describe("the embedded model's files", () => {
  it("end every turn with <|im_end|> and a newline, which the reward is read at", async () => {
    const tokenizer = await Tokenizer.load(folders.tiny);
    const template = await ChatTemplate.load(folders.tiny);
    const ends = [tokenizer.controlTokens.get("<|im_end|>"), ...tokenizer.encodeText("\n")];
    for (const { messages } of [...conversations, ...injections]) {
      expect(tokenizeConversation(messages, tokenizer, template).ids.slice(-2)).toEqual(ends);
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
  expect(() => tokenizeConversation(parts, tokenizer, blind)).toThrow(/has image, but .* no media/);
  expect(() => tokenizeConversation(message("What?"), tokenizer, seeing)).toThrow(/has no media, but .* image/);
  const swapped = message([{ type: "video" }]);
  const other = new ChatTemplate("<|image_pad|>");
  expect(() => tokenizeConversation(swapped, tokenizer, other)).toThrow(/has video, but .* image/);
});
