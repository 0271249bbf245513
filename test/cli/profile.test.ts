/** @file `score --profile`: a trace that can be read at the end of any run, and whose spans lie where the time went. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exitCode, linesOf, root, run, start } from "./command.ts";

interface Event {
  readonly name: string;
  readonly cat?: "phase" | "operator";
  readonly ph: "X" | "M";
  readonly ts: number; // microseconds
  readonly dur: number;
  readonly pid: number;
  readonly tid: number;
  readonly args: { readonly name?: string; readonly of?: string; readonly shapes?: readonly string[] };
}

const folder = mkdtempSync(join(tmpdir(), "vl-reward-profile-"));
const trace = join(folder, "trace.json");
const readTrace = (): Event[] => JSON.parse(readFileSync(trace, "utf8"));
const picture = join(root, "examples/pictures/coffee.jpg");
const jsonLines = (...records: readonly unknown[]) => records.map((record) => `${JSON.stringify(record)}\n`).join("");
const record = (text: string, ...answers: readonly string[]) => ({
  messages: [
    {
      role: "user",
      content: [
        { type: "image", image: picture },
        { type: "text", text },
      ],
    },
  ],
  responses: answers,
});

beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("shows every phase on its thread, one inside the other, in no more time than there was", async () => {
  writeFileSync(trace, `what an earlier run left ${"x".repeat(2 ** 20)}`);
  const input = jsonLines(record("What is this?", "Coffee.", "Tea."), record("Is it hot?", "Yes."), {});
  const began = performance.now();
  const { code, stdout } = await run(["score", "-", "--profile", trace], input);
  const wall = 1000 * (performance.now() - began); // microseconds
  expect(code).toBe(1); // the last record is none
  const plain = await run(["score", "-"], input);
  expect(stdout).toBe(plain.stdout);

  const events = readTrace();
  const spans = events.filter(({ ph }) => ph === "X");
  const threads = new Map(events.filter(({ name }) => name === "thread_name").map(({ tid, args }) => [tid, args.name]));
  expect(events[0]).toMatchObject({ name: "process_name", ph: "M", args: { name: "vl-reward" } });
  expect(new Set(events.map(({ pid }) => pid)).size).toBe(1);

  const named = (name: string) => spans.filter((span) => span.name === name);
  for (const [name, thread] of [
    ["load", /^(compute|prepare) /],
    ["prepare", /^prepare \d+, lane \d+$/],
    ["media", /^prepare \d+, lane \d+$/],
    ["fetch", /^prepare \d+, lane \d+$/],
    ["decode", /^prepare \d+, lane \d+$/],
    ["resize", /^prepare \d+, lane \d+$/],
    ["tokenizer", /^prepare \d+, lane \d+$/],
    ["pass", /^compute /],
    ["vision", /^compute /],
    ["decoder", /^compute /],
    ["aten::linear", /^compute /],
    ["aten::scaled_dot_product_attention", /^compute /],
  ] as const) {
    expect(named(name), name).not.toHaveLength(0);
    for (const { tid } of named(name)) expect(threads.get(tid), name).toMatch(thread);
  }
  expect(named("decode").map(({ args }) => args.of)).toContain(picture);
  expect(named("aten::linear").every(({ args }) => args.shapes?.[1]?.match(/^\d+ x \d+$/))).toBe(true);

  // Of two spans on one thread, one lies inside the other or after it; parents are told after their children.
  for (const tid of threads.keys()) {
    const own = spans.filter((span) => span.tid === tid).sort((a, b) => a.ts - b.ts || b.dur - a.dur);
    const around: Event[] = [];
    for (const span of own) {
      while (around.length > 0 && endOf(around.at(-1)) <= span.ts) around.pop();
      const parent = around.at(-1);
      if (parent) expect(endOf(span), `${span.name} in ${parent.name}`).toBeLessThanOrEqual(endOf(parent) + 0.05);
      around.push(span);
    }
    const operators = own.filter(({ cat }) => cat === "operator").reduce((sum, { dur }) => sum + dur, 0);
    expect(operators).toBeLessThan(wall);
  }
  const [inVision, inDecoder] = ["vision", "decoder"].map((phase) => insideOf(named(phase), named("aten::linear")));
  expect(inVision).toBeGreaterThan(0);
  expect(inDecoder).toBeGreaterThan(0);
  for (const { ts, dur } of spans) {
    expect(ts).toBeGreaterThanOrEqual(0);
    expect(dur).toBeGreaterThanOrEqual(0);
    expect(ts + dur).toBeLessThan(wall);
  }
  // One clock: a picture is seen on one thread after it was prepared on another.
  const prepared = Math.min(...named("prepare").map(endOf));
  expect(Math.min(...named("pass").map(({ ts }) => ts))).toBeGreaterThan(prepared - 100);
});

it("is whole after Ctrl-C", async () => {
  const child = start("score", "-", "--profile", trace);
  const lines = linesOf(child.stdout);
  const ended = exitCode(child);
  child.stdin.on("error", () => {});
  const many = Array.from({ length: 400 }, (_, index) => record(`What is ${index}?`, "Coffee.", "Tea."));
  child.stdin.write(jsonLines(...many));
  await lines.next();
  child.kill("SIGINT");
  expect(await ended).toBe(130);
  expect(readTrace().some(({ name }) => name === "decoder")).toBe(true);
});

it("is whole after an error that ends the run", async () => {
  const { code } = await run(["score", "-", "--model", join(folder, "absent"), "--profile", trace], "");
  expect(code).toBe(2);
  expect(readTrace()[0]?.name).toBe("process_name");
});

it.each([
  [["--profile", join(folder, "no", "such", "folder")], /no such file or directory/],
  [["--profile", "/dev/null"], /regular file/],
  [["--output", join(folder, "same"), "--profile", join(folder, "same")], /another file of this run/],
])("%j cannot be written", async (flags, message) => {
  const { code, stderr } = await run(["score", "-", ...flags], jsonLines(record("What?", "This.")));
  expect(stderr).toMatch(message);
  expect(code).toBe(2);
  expect(existsSync(join(folder, "same"))).toBe(false);
});

const endOf = (span: Event | undefined): number => (span ? span.ts + span.dur : Number.NaN);

/** How many of `spans` lie in one of `parents`. */
function insideOf(parents: readonly Event[], spans: readonly Event[]): number {
  return spans.filter((span) => parents.some((parent) => parent.ts <= span.ts && endOf(span) <= endOf(parent))).length;
}
