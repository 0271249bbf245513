/**
 * @file Records that nobody should write, thousands of them on demand: each comes back in its place with scores or a documented
 * error of a short message, records between them get the scores that they get alone, and the process lives on.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root, run } from "../cli/command.ts";
import { type Json, mutated } from "./json.ts";
import { countOf, oneOf, type Random, randomOf, seed, tally } from "./random.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-fuzz-records-"));
const count = countOf("RECORDS", 300);
beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits
afterAll(() => rmSync(folder, { recursive: true }));

/** The codes that docs/cli.md has, without those of defects. */
const documented = new Set(
  [...readFileSync(path.join(root, "docs/cli.md"), "utf8").matchAll(/^\| `([a-z_]+)` \| /gm)].map(([, code]) => code),
);
for (const defect of ["internal_error", "operator_failed", "use_after_dispose", "scope_misuse"])
  documented.delete(defect);

const picture = "examples/pictures/scene-3.png";
const dataUrl = `data:image/png;base64,${readFileSync(path.join(root, picture)).toString("base64")}`;
const question = { role: "user", content: "Which colour does the object on the left have?" };
const seeing = (image: string): Json => ({
  role: "user",
  content: [
    { type: "image_url", image_url: { url: image }, max_pixels: 50_000 },
    { type: "text", text: "Which colour does the object on the left have?" },
  ],
});
const answer = { role: "assistant", content: "It is cyan." };

const templates: readonly Json[] = [
  { id: "a", messages: [question, answer] },
  { id: 7, messages: [{ role: "system", content: "Be kind." }, seeing(picture), answer] },
  { id: "c", messages: [question], responses: ["It is cyan.", "It is purple.", "Yes."] },
  { id: "p", messages: [seeing(dataUrl)], chosen: "It is cyan.", rejected: "It is purple." },
  { messages: [{ role: "user", content: [{ type: "video", video: [picture, picture], nframes: 2 }] }, answer] },
  { prompt: "Which colour?", chosen: "It is cyan.", rejected: "It is purple.", images: [picture] },
  {
    conversations: [{ from: "human", value: "<image>Which?" }],
    chosen: { from: "gpt", value: "Cyan." },
    images: [picture],
  },
  { messages: [question, answer], rejected_response: "Purple.", objects: { ref: [], bbox: [] } },
  { chosen: [question, answer], rejected: [question, { role: "assistant", content: "No." }] },
];

/** What a path or address in a record may lead to. */
const places = [
  "/dev/zero",
  "/dev/stdin",
  "/proc/self/mem",
  ".",
  "",
  "\0",
  "none.png",
  "file:///%",
  "http://[",
  "data:,",
  "data:image/png;base64,%",
];

/** The text of a line, without its end; a few are no UTF-8 or no JSON. */
function hostileLine(random: Random): Buffer {
  const template = oneOf(random, templates);
  const value = JSON.stringify(mutated(template, random));
  switch (random(12)) {
    case 0:
      return Buffer.from(value.slice(0, random(value.length)));
    case 1: {
      const bytes = Buffer.from(value);
      for (let turn = 0; turn < 3; turn++) bytes[random(bytes.length)] = 1 + random(255);
      return Buffer.from(bytes.map((byte) => (byte === 0x0a ? 0x20 : byte))); // it stays one line
    }
    case 2:
      return Buffer.from(value.replaceAll(picture, JSON.stringify(oneOf(random, places)).slice(1, -1)));
    case 3:
      return Buffer.from(value.replace(/\d+/, oneOf(random, ["1e999", "-0", "9007199254740993", "1".repeat(5000)])));
    case 4:
      return Buffer.from(value.replace("{", '{"id":1,"id":2,'));
    case 5: {
      const [open, close] = oneOf<[string, string]>(random, [
        ["[", "]"],
        ['{"a":', "}"],
      ]);
      const depth = oneOf(random, [100, 10_000, 1_000_000]);
      return Buffer.from(`{"messages":${open.repeat(depth)}1${close.repeat(depth)}}`);
    }
    default:
      return Buffer.from(value);
  }
}

const joined = (lines: readonly Buffer[]): Buffer => Buffer.concat(lines.flatMap((line) => [line, Buffer.from("\n")]));

/** The id that a result must have: the record's own where it is one, else the number of its line. */
function idOf(line: Buffer, number: number): unknown {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(line);
    const { id }: { id: unknown } = JSON.parse(text);
    const isNumber =
      typeof id === "number" && Number.isFinite(id) && (!Number.isInteger(id) || Number.isSafeInteger(id));
    if (id === 0) return 0; // JSON.stringify writes no -0
    return typeof id === "string" || isNumber ? id : number;
  } catch {
    return number;
  }
}

interface Result {
  readonly id: unknown;
  readonly error?: { readonly code: string; readonly message: string };
}

/** Nothing but finite numbers where numbers stand, and no result without any. */
function assertScores(result: object, line: string): void {
  const numbers = Object.entries(result).flatMap(([key, value]) => (key === "id" ? [] : [value].flat(3)));
  expect(numbers.length, line).toBeGreaterThan(0);
  for (const number of numbers) expect(Number.isFinite(number), line).toBe(true);
}

const control = Buffer.from(JSON.stringify({ id: "control", messages: [question, answer] }));

describe.each([
  ["score", []],
  ["score", ["--per-token"]],
  ["embed", ["--of", "prompt"]],
])("%s %s", (command, flags) => {
  // What `embed` and --per-token read is what `score` reads: a tenth shows that they live on as well.
  const own = command === "score" && flags.length === 0 ? count : Math.ceil(count / 10);

  test(`${own} records, and a good one behind every tenth`, { timeout: 60_000 + 100 * own }, async () => {
    const lines: Buffer[] = [];
    for (let attempt = 0; attempt < own; attempt++) {
      const line = hostileLine(randomOf(attempt));
      if (!/^[ \t\r]*$/.test(line.toString("latin1"))) lines.push(line);
      if (attempt % 10 === 9) lines.push(control);
    }
    lines.push(control);
    const { code, stdout, stderr } = await run([command, "-", ...flags], joined(lines));
    expect([0, 1], stderr).toContain(code);
    const results = stdout
      .trimEnd()
      .split("\n")
      .map((text): Result => JSON.parse(text));
    expect(results).toHaveLength(lines.length);
    const outcomes: string[] = [];
    let good: Result | undefined;
    for (const [number, result] of results.entries()) {
      const line = lines[number] ?? control;
      const shown = `seed ${seed}, line ${number}: ${line.toString("utf8").slice(0, 300)} -> ${JSON.stringify(result).slice(0, 600)}`;
      const { id, error, ...rest } = result;
      if (line === control) {
        good ??= result;
        expect(result, shown).toEqual(good);
        expect(error, shown).toBeUndefined();
      }
      outcomes.push(error?.code ?? "answered");
      // A line that is refused before it is parsed has no id of its own.
      if (!error || id !== number) expect(id, shown).toEqual(idOf(line, number));
      if (!error) {
        if (command === "score" && flags.length === 0) assertScores(rest, shown);
        continue;
      }
      expect(documented, shown).toContain(error.code);
      expect(error.message.length, shown).toBeLessThan(1000);
    }
    expect(outcomes.filter((outcome) => outcome === "answered").length).toBeGreaterThan(own / 10); // not all are refused
    console.info(`${command} ${flags.join(" ")}: ${tally(outcomes)}`);
  });
});

test("train --check counts what it cannot use, and can use the rest", { timeout: 60_000 + 100 * count }, async () => {
  const good = Buffer.from(JSON.stringify({ messages: [question], chosen: "It is cyan.", rejected: "It is purple." }));
  const lines: Buffer[] = [good];
  for (let attempt = 0; attempt < count; attempt++) {
    const line = hostileLine(randomOf(attempt));
    if (!/^[ \t\r]*$/.test(line.toString("latin1"))) lines.push(line);
  }
  const file = path.join(folder, "pairs.jsonl");
  writeFileSync(file, joined(lines));
  const config = path.join(folder, "run.yaml");
  const keys = { model: "tiny", output: "out", on_bad_record: "skip", stages: [{ data: [{ path: file }], steps: 1 }] };
  writeFileSync(config, JSON.stringify(keys)); // YAML is more than JSON
  const { code, stderr } = await run(["train", config, "--check"]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const [, usable, records] =
    /([\d,]+) of ([\d,]+) records/.exec(stderr)?.map((text) => Number(text.replace(",", ""))) ?? [];
  expect(records).toBe(lines.length);
  expect(usable).toBeGreaterThan(0);
  console.info(`train --check: ${usable} of ${records} records can be used`);
});
