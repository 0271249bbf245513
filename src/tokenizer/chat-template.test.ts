/** @file Where the template comes from, and what templates may do with texts. Qwen's own is in conversation.test.ts. */

import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ChatTemplate, type TemplateMessage } from "./chat-template.ts";

const hello: TemplateMessage[] = [{ role: "user", content: "hello" }];
const printed = (template: ChatTemplate, messages = hello) =>
  template
    .render(messages)
    .map((segment) => segment.text)
    .join("");

async function folderWith(files: Record<string, unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "template-"));
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return folder;
}

describe("a folder's template", () => {
  const jinja = { "chat_template.jinja": "jinja" };
  const json = { "chat_template.json": { chat_template: "json" } };
  const config = { "tokenizer_config.json": { chat_template: "config" } };
  const named = [
    { name: "tool_use", template: "tools" },
    { name: "default", template: "named" },
  ];

  it.each([
    ["jinja", { ...jinja, ...json, ...config }],
    ["json", { ...json, ...config }],
    ["config", config],
    ["named", { "chat_template.json": { chat_template: named } }],
    ["named", { "tokenizer_config.json": { chat_template: named } }],
    ["named", { "tokenizer_config.json": { chat_template: { tool_use: "tools", default: "named" } } }],
    ["json", { ...json, "tokenizer_config.json": { eos_token: null } }],
  ])("is %s of %j", async (expected, files) => {
    expect(printed(await ChatTemplate.load(await folderWith(files)))).toBe(expected);
  });

  it("may name the special tokens of tokenizer_config.json", async () => {
    const source = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}";
    const tokens = { bos_token: null, eos_token: "<end>", pad_token: { content: "<pad>" } };
    const folder = await folderWith({ "chat_template.jinja": source, "tokenizer_config.json": tokens });
    expect(printed(await ChatTemplate.load(folder))).toBe("|<end>|<pad>");
  });

  it.each([
    ["has no chat template", {}],
    ["has no chat template", { "tokenizer_config.json": {} }],
    ['named "default"', { "chat_template.json": { chat_template: [{ name: "rag", template: "x" }] } }],
    ["chat_template is not supported", { "chat_template.json": { template: "x" } }],
    ["not readable JSON", { "chat_template.json": "{" }],
    ["not valid Jinja", { "chat_template.jinja": "{% if %}" }],
  ])("is refused when it %s", async (message, files) => {
    await expect(ChatTemplate.load(await folderWith(files))).rejects.toMatchObject({
      code: "config_invalid",
      message: expect.stringContaining(message),
    });
  });
});

describe("rendering", () => {
  it("tells who wrote what", () => {
    const template = new ChatTemplate("<a>{{ messages[0].content }}<b>{{ messages[0].content }}");
    expect(template.render([{ role: "user", content: "<b>" }])).toEqual([
      { writer: "template", text: "<a>" },
      { writer: "user", text: "<b>" },
      { writer: "template", text: "<b>" },
      { writer: "user", text: "<b>" },
    ]);
  });

  it("leaves empty texts empty, also for a template that asks", () => {
    const template = new ChatTemplate("[{% if messages[0].content %}text{% endif %}{{ messages[0].content }}]");
    expect(printed(template, [{ role: "user", content: "" }])).toBe("[]");
    expect(printed(template)).toBe("[texthello]");
  });

  it("gives no generation prompt", () => {
    expect(printed(new ChatTemplate("{% if add_generation_prompt %}prompt{% else %}none{% endif %}"))).toBe("none");
  });

  it("takes a template that trims only while there is nothing to trim", () => {
    const template = new ChatTemplate("[{{ messages[0].content | trim }}]");
    expect(printed(template)).toBe("[hello]");
    expect(() => template.render([{ role: "user", content: " hello" }])).toThrow(/changes the text of a turn/);
  });

  it.each([
    "{{ messages[0].content | upper }}",
    "{{ messages[0].content | length }}",
    "{{ messages[0].content[:3] }}",
    "{{ messages[0].content | tojson }}",
    "{{ messages[0].content.split('l')[-1] }}",
    "{% if 'ell' in messages[0].content %}yes{% endif %}",
  ])("refuses a template that rewrites texts or decides by them: %s", (source) => {
    const twoLines: TemplateMessage[] = [{ role: "user", content: "hel\nello" }];
    expect(() => new ChatTemplate(source).render(twoLines)).toThrow(
      expect.objectContaining({ code: "config_invalid" }),
    );
  });

  it("is not confused by marks in a template or a text", () => {
    expect(() => new ChatTemplate("\u{e000}0\u{e001}{{ messages[0].content }}").render(hello)).toThrow(/changes/);
    const text = "\u{e000}0\u{e001}\u{e000}7\u{e001}";
    expect(new ChatTemplate("{{ messages[0].content }}").render([{ role: "user", content: text }])).toEqual([
      { writer: "user", text },
    ]);
  });

  it("passes on what a template refuses", () => {
    const template = new ChatTemplate("{{ raise_exception('roles must alternate') }}");
    expect(() => template.render(hello)).toThrow(/refuses the conversation: roles must alternate/);
  });
});
