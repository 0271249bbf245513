/** @file Templates that read or change a text, against Python's Jinja (test/fixtures/tokenizer). */

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { compileTemplate } from "./jinja.ts";

const cases = JSON.parse(readFileSync("test/fixtures/tokenizer/templates.json", "utf8")) as {
  source: string;
  content: string;
  rendered: string;
}[];

it.each(cases)("renders $source with $content as Python does", ({ source, content, rendered }) => {
  const variables = { messages: [{ role: "user", content }], tools: null };
  expect(compileTemplate(source)(variables)).toBe(rendered);
});

it.each(["{% filter trim %} x {% endfilter %}", "{{ [' x '] | map('trim') | join }}"])(
  "refuses what would trim as JavaScript does: %s",
  (source) => {
    expect(() => compileTemplate(source)).toThrow(/is not supported/);
  },
);

it.each(["{{ 5 | trim }}", "{{ ' x '.strip(4) }}", "{{ missing.split() }}"])(
  "refuses to strip other than texts: %s",
  (source) => {
    expect(() => compileTemplate(source)({})).toThrow(/no text/);
  },
);

it("refuses a date that changes daily, and only when it is asked for", () => {
  const template = compileTemplate(
    "{% if not date is defined %}{% set date = strftime_now('%d %b') if strftime_now is defined else 'x' %}{% endif %}{{ date }}",
  );
  expect(() => template({})).toThrow(
    expect.objectContaining({ code: "config_invalid", message: expect.stringContaining("today's date") }),
  );
  expect(template({ date: "26 Jul" })).toBe("26 Jul");
});
