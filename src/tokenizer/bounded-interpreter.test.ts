/** @file Templates that do not end, or make more than memory holds, and large ones that do end. */
import { describe, expect, test } from "vitest";
import { ChatTemplate, type TemplateMessage } from "./chat-template.ts";
import { compileTemplate } from "./jinja.ts";

const doubling = (what: string): string =>
  `{% set ns = namespace(x=${what}) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | length }}`;

const nested = (made: string): string =>
  `{% set ns = namespace(x=['ab']) %}{% for i in range(60) %}{% set ns.x = ${made} %}{% endfor %}`;

describe("refuses", () => {
  test.each([
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}",
    "{% for i in range(30000) %}{% for j in range(30000) %}{% endfor %}{% endfor %}",
    "{% for i in range(0, 1, 0) %}{% endfor %}",
    "{{ range(-1, 10 ** 300) | length }}",
    "{% macro f(n) %}{{ f(n - 1) if n }}{{ f(n - 1) if n }}{% endmacro %}{{ f(60) }}",
    doubling("'x'"),
    doubling("['x']"),
    "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    `${nested("[ns.x, ns.x]")}{{ ns.x }}`,
    `${nested("[ns.x, ns.x]")}{{ ns.x | tojson }}`,
    `${nested("{'a': ns.x, 'b': ns.x}")}{{ ns.x ~ '' }}`,
    `${nested("namespace(a=ns.x, b=ns.x)")}{{ ns.x }}`,
    "{{ 'a\\nb' | indent(1000000000) }}",
    "{{ [1] | tojson(indent=1000000000) }}",
    "{% filter indent(1000000000) %}a\nb{% endfilter %}",
    "{{ ['a\\nb'] | map('indent', 1000000000) | first }}",
    "{% set b %}{% for i in range(90000) %}xxxxxxxxxx{% endfor %}{% endset %}{{ b | replace('x', b) }}",
    "{% set b %}{% for i in range(90000) %}xxxxxxxxxx{% endfor %}{% endset %}{{ b.replace('x', b) }}",
    "{% set b %}{% for i in range(90000) %}xxxxxxxxxx{% endfor %}{% endset %}{{ range(9000) | join(b) }}",
    "{% set r = range(30000) %}{% for i in r %}{{ 'x' in r }}{% endfor %}",
    "{% set r = range(30000) %}{% for i in r %}{{ r | sort | first }}{% endfor %}",
  ])("%s", (source) => {
    expect(() => new ChatTemplate(source).render([{ role: "user", content: "q" }])).toThrow(
      expect.objectContaining({ code: "config_invalid", message: expect.stringMatching(/^the chat template /) }),
    );
  });
});

test("refuses what is nested a hundred thousand times", () => {
  const source = `{{ ${"[".repeat(100_000)}1${"]".repeat(100_000)} }}`;
  expect(() => new ChatTemplate(source)).toThrow(expect.objectContaining({ code: "config_invalid" }));
});

const printing = new ChatTemplate(
  "{% for m in messages %}{% if loop.first and m.role != 'system' %}<system>{% endif %}<{{ m.role }}>{% for p in m.content %}" +
    "{{ p.text | trim }}{% endfor %}{% if not loop.last and messages[loop.index].role == 'user' %}!{% endif %}{% endfor %}",
);
const turn = (index: number, text: string): TemplateMessage => ({
  role: index % 2 === 0 ? "user" : "assistant",
  content: [{ type: "text", text }],
});

test.each([
  ["ten thousand turns", 10_000, "hi"],
  ["two million characters in a turn", 2, "word ".repeat(400_000).trim()],
])("renders %s", (_, turns, text) => {
  const messages = Array.from({ length: turns }, (_, index) => turn(index, text));
  const expected = messages.map(({ role }) => `<${role}>${text}`).join("");
  const rendered = printing.render(messages).map((segment) => segment.text);
  expect(rendered.join("").replaceAll("!", "")).toBe(`<system>${expected}`);
});

test("a condition beside a value is asked before the value", () => {
  const template = compileTemplate(
    "{{ raise_exception('asked') if x }}{% for y in [1, 2, 3] if y > 1 %}{{ y }}{% endfor %}",
  );
  expect(template({ x: false })).toBe("23");
  expect(() => template({ x: true })).toThrow("asked");
});
