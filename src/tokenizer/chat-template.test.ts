/** @file Where the template comes from, and what templates may do with texts. Published ones are in conversation.test.ts. */

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
  it("tells control tokens of the template from those in texts", () => {
    const template = new ChatTemplate("<|a|>{{ messages[0].content }}<|b|>{{ messages[0].content }}");
    expect(template.render([{ role: "user", content: "<|b|>" }], ["<|a|>", "<|b|>"])).toEqual([
      { isControlToken: true, text: "<|a|>" },
      { isControlToken: false, text: "<|b|>" },
      { isControlToken: true, text: "<|b|>" },
      { isControlToken: false, text: "<|b|>" },
    ]);
  });

  it.each([
    [["<|end|>"], "{{ messages[0].content.split('x') | join }}", "<|enxd|>"],
    [["<|end|>"], "{{ messages[0].content.strip('d<') + messages[0].content }}", "<|end|>d<"],
    [["<|end|>"], "<{{ messages[0].content | lower }}>", "|END|"],
    [["</s>", "[INST]", "<|end|>"], "{{ messages[0].content | replace('x', '') | upper }}", "</sx> [inst] <|end|>"],
    [["</s>", "[INST]", "BOS"], "{{ messages[0].content[1:] + messages[0].content[:1] }}", "]BOS<s>[INST"],
  ])("lets no text become one of %j, whatever is cut and joined: %s", (tokens, source, content) => {
    const template = new ChatTemplate(source);
    const expected = printed(template, [{ role: "user", content }]);
    expect(template.render([{ role: "user", content }], tokens)).toEqual([{ isControlToken: false, text: expected }]);
  });

  it("gives contents in parts as one string to a model that reads text only", () => {
    const source = "{{ messages[0].content is string }}|{{ messages[0].content | length }}";
    const parts: TemplateMessage[] = [
      { role: "user", content: [{ type: "text", text: "ab" }, { type: "image" }, { type: "text", text: "|c" }] },
    ];
    expect(printed(new ChatTemplate(source, {}, { textOnly: true }), parts)).toBe("true|4");
    expect(printed(new ChatTemplate(source), parts)).toBe("false|3");
  });

  it("leaves empty texts empty, also for a template that asks", () => {
    const template = new ChatTemplate("[{% if messages[0].content %}text{% endif %}{{ messages[0].content }}]");
    expect(printed(template, [{ role: "user", content: "" }])).toBe("[]");
    expect(printed(template)).toBe("[texthello]");
  });

  it("gives no generation prompt", () => {
    expect(printed(new ChatTemplate("{% if add_generation_prompt %}prompt{% else %}none{% endif %}"))).toBe("none");
  });

  it.each([
    ["{{ messages[0].content | upper }}", "|A\nB|"],
    ["{{ messages[0].content | length }}", "5"],
    ["{{ messages[0].content[:3] }}", "|a\n"],
    ["{{ messages[0].content | tojson }}", '"|a\\nb|"'],
    ["{{ messages[0].content.split('a')[-1] }}", "\nb|"],
    ["{% if 'b' in messages[0].content %}yes{% endif %}", "yes"],
  ])("takes a template that reads or changes texts: %s", (source, expected) => {
    const segments = new ChatTemplate(source).render([{ role: "user", content: "|a\nb|" }], ["<|end|>"]);
    expect(segments).toEqual([{ isControlToken: false, text: expected }]);
  });

  it.each([
    "{% if '|' in messages[0].content %}yes{% endif %}",
    "{{ messages[0].content.split('|')[0] }}",
    "{{ messages[0].content | tojson(ensure_ascii=true) }}",
    "\u{e000}{{ messages[0].content }}",
  ])("refuses a template that decides by what control tokens are spelled with: %s", (source) => {
    const template = new ChatTemplate(source);
    expect(() => template.render([{ role: "user", content: "a|b" }], ["<|end|>"])).toThrow(
      expect.objectContaining({ code: "config_invalid", message: expect.stringContaining("decides by characters") }),
    );
    expect(printed(template)).toBe(new ChatTemplate(source).render(hello, ["<|end|>"])[0]?.text ?? "");
  });

  it("is not confused by private-use characters in texts", () => {
    const template = new ChatTemplate("{{ messages[0].content }}");
    const content = "\u{e000}0\u{e001}|\u{e000}7\u{e001}\u{f0000}";
    expect(template.render([{ role: "user", content }], ["<|end|>"])).toEqual([
      { isControlToken: false, text: content },
    ]);
    const all = Array.from({ length: 6400 }, (_, index) => String.fromCodePoint(0xe000 + index)).join("");
    expect(() => template.render([{ role: "user", content: `${all}|` }], ["<|end|>"])).toThrow(
      expect.objectContaining({ code: "invalid_record" }),
    );
  });

  it("passes on what a template refuses", () => {
    const template = new ChatTemplate("{{ raise_exception('roles must alternate') }}");
    expect(() => template.render(hello)).toThrow(/refuses the conversation: roles must alternate/);
  });

  describe("turns that not every template has a place for", () => {
    const turns = ["system", "user", "tool", "developer", "system", "assistant"] as const;
    const messages = turns.map((role, turn): TemplateMessage => ({ role, content: `turn ${turn}` }));
    const chatMl = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    const known = (roles: string) =>
      `{% for m in messages %}{% if m.role in [${roles}] and (m.role != 'system' or loop.first) %}{{ m.content }}{% endif %}{% endfor %}`;

    it("are printed where there is one", () => {
      expect(printed(new ChatTemplate(chatMl), messages)).toBe(
        turns.map((role, turn) => `<${role}>turn ${turn}`).join(""),
      );
    });

    it.each([
      [
        "'system', 'user', 'assistant', 'developer'",
        'messages[2].role: the model\'s chat template has no place for a turn of the role "tool"',
      ],
      [
        "'system', 'user', 'assistant', 'tool'",
        'messages[3].role: the model\'s chat template has no place for a turn of the role "developer"',
      ],
      [
        "'system', 'user', 'assistant', 'tool', 'developer'",
        "messages[4].role: the model's chat template has no place for a system turn that is not the first",
      ],
    ])("are refused by name where a template knows only %s", (roles, message) => {
      expect(() => new ChatTemplate(known(roles)).render(messages)).toThrow(
        expect.objectContaining({ code: "invalid_roles", message: expect.stringContaining(message) }),
      );
    });
  });
});
