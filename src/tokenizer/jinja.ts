/**
 * @file Jinja templates as Python's Jinja renders them, where @huggingface/jinja does otherwise: it strips without
 * looking at the characters that are given (`lstrip('\n')`), and what it takes for white space is JavaScript's. Such
 * calls are redirected, in the parsed template, to functions of this file. Today's date is refused.
 */

import { Template } from "@huggingface/jinja";
import { VlRewardError } from "../errors.ts";
import { runBounded, type TemplateInput } from "./bounded-interpreter.ts";

/** No name that a template can spell. */
const prefix = "python ";

/** What a call is redirected to; the first argument is what the method or filter was called on. */
const functions: Readonly<Record<string, (...args: unknown[]) => unknown>> = {
  strip: (text, signs) => strip(text, signs, true, true),
  lstrip: (text, signs) => strip(text, signs, true, false),
  rstrip: (text, signs) => strip(text, signs, false, true),
  trim: (text = "", signs) => strip(text, signs, true, true),
  split: (text) => {
    if (typeof text !== "string") throw new Error("split() is called on what is no text");
    return text.split(new RegExp(`${whiteSpace.source}+`, "u")).filter((word) => word !== "");
  },
  strftime_now: () => {
    const message =
      "the chat template writes today's date (strftime_now), so that a score would change from day to day: " +
      "put a fixed date into the template";
    throw new VlRewardError("config_invalid", message);
  },
};

/** Python's: Unicode's and the four separators of ASCII. */
const whiteSpace = new RegExp(`[\\p{White_Space}${"\u001c-\u001f"}]`, "u");

/** Renders a template with the given variables; how large they are decides how much work it may be. */
export type Render = (variables: Readonly<Record<string, unknown>>, input?: TemplateInput) => string;

export function compileTemplate(source: string): Render {
  const template = new Template(source);
  redirect(template.parsed);
  const inContext = Object.fromEntries(Object.entries(functions).map(([name, one]) => [prefix + name, one]));
  return (variables, input = { turns: 0, characters: 0 }) =>
    runBounded(template.parsed, { strftime_now: functions.strftime_now, ...inContext, ...variables }, input);
}

interface Node {
  type: string;
  [property: string]: unknown;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** A part of a parsed template and all that is in it, in place. */
function redirect(part: unknown): void {
  if (Array.isArray(part) || part instanceof Map) for (const one of part) redirect(one);
  if (!isNode(part)) return;
  for (const child of Object.values(part)) redirect(child);
  if (part.type === "CallExpression" && Array.isArray(part.args)) redirectCall(part, part.args);
  if (part.type === "FilterExpression") {
    const { name, args } = filterOf(part.filter);
    if (name === "trim") becomeCall(part, name, [part.operand, ...args]);
    const [mapped] = args;
    if (name === "map" && isNode(mapped) && mapped.value === "trim") throw new Error("map('trim') is not supported");
  }
  if (part.type === "FilterStatement" && filterOf(part.filter).name === "trim") {
    throw new Error("{% filter trim %} is not supported");
  }
}

function redirectCall(call: Node, args: readonly unknown[]): void {
  const { callee } = call;
  if (!isNode(callee)) return;
  if (callee.type === "Identifier" && callee.value === "strftime_now") becomeCall(call, "strftime_now", args);
  if (callee.type !== "MemberExpression" || callee.computed === true || !isNode(callee.property)) return;
  const { value: name } = callee.property;
  const isStrip = name === "strip" || name === "lstrip" || name === "rstrip";
  if (isStrip || (name === "split" && args.length === 0)) becomeCall(call, name, [callee.object, ...args]);
}

function filterOf(filter: unknown): { name: unknown; args: readonly unknown[] } {
  if (!isNode(filter)) return { name: undefined, args: [] };
  if (filter.type === "Identifier") return { name: filter.value, args: [] };
  return { name: isNode(filter.callee) && filter.callee.value, args: Array.isArray(filter.args) ? filter.args : [] };
}

function becomeCall(node: Node, name: string, args: readonly unknown[]): void {
  Object.assign(node, { type: "CallExpression", callee: { type: "Identifier", value: prefix + name }, args });
}

/** Python's `str.strip`: `signs` is a set of characters; without it white space goes. */
function strip(text: unknown, signs: unknown, atStart: boolean, atEnd: boolean): string {
  if (typeof text !== "string" || (typeof signs !== "string" && signs !== undefined && signs !== null)) {
    throw new Error("a strip or trim of what is no text, or by what is no text");
  }
  const set = typeof signs === "string" ? new Set(signs) : undefined;
  const goes = (sign = "") => (set ? set.has(sign) : whiteSpace.test(sign));
  const all = Array.from(text);
  let [from, to] = [0, all.length];
  while (atStart && from < to && goes(all[from])) from++;
  while (atEnd && to > from && goes(all[to - 1])) to--;
  return all.slice(from, to).join("");
}
