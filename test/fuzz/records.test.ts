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

/** What hostile records are made of, by what they are: a file has records of one kind, for files have one format. */
const kinds: Readonly<Record<string, Json>> = {
  conversations: { id: "a", messages: [question, answer] },
  pictures: { id: 7, messages: [{ role: "system", content: "Be kind." }, seeing(picture), answer] },
  candidates: { id: "c", messages: [question], responses: ["It is cyan.", "It is purple.", "Yes."] },
  pairs: { id: "p", messages: [seeing(dataUrl)], chosen: "It is cyan.", rejected: "It is purple." },
  "frames of a video": {
    messages: [{ role: "user", content: [{ type: "video", video: [picture, picture], nframes: 2 }] }, answer],
  },
  "pairs of chats": { chosen: [question, answer], rejected: [question, { role: "assistant", content: "No." }] },
  "prompts of TRL": { prompt: "Which colour?", chosen: "It is cyan.", rejected: "It is purple.", images: [picture] },
  ShareGPT: {
    conversations: [{ from: "human", value: "<image>Which colour?" }],
    chosen: { from: "gpt", value: "It is cyan." },
    rejected: { from: "gpt", value: "It is purple." },
    images: [picture],
  },
  "ms-swift": { messages: [question, answer], rejected_response: "Purple.", images: [] },
};

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
function hostileLine(template: Json, random: Random): Buffer {
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

/** Hostile lines of a kind, none of them blank, with what the kind is made of behind every tenth and at both ends. */
function linesOf(template: Json, attempts: number): { readonly lines: readonly Buffer[]; readonly good: Buffer } {
  const good = Buffer.from(JSON.stringify(template));
  const lines: Buffer[] = [good];
  for (let attempt = 0; attempt < attempts; attempt++) {
    const line = hostileLine(template, randomOf(attempt));
    if (!/^[ \t\r]*$/.test(line.toString("latin1"))) lines.push(line);
    if (attempt % 10 === 9) lines.push(good);
  }
  return { lines: [...lines, good], good };
}

/** Runs a command over the lines and holds each result against its line. */
async function attempt(command: string, flags: readonly string[], kind: string, attempts: number): Promise<void> {
  const { lines, good } = linesOf(kinds[kind] ?? null, attempts);
  const { code, stdout, stderr } = await run([command, "-", ...flags], joined(lines));
  expect([0, 1], stderr).toContain(code);
  const results = stdout.trimEnd().split("\n");
  expect(results).toHaveLength(lines.length);
  const outcomes: string[] = [];
  for (const [number, text] of results.entries()) {
    const line = lines[number] ?? good;
    const shown = `seed ${seed}, line ${number}: ${line.toString("utf8").slice(0, 300)} -> ${text.slice(0, 600)}`;
    const { id, error, ...rest }: Result = JSON.parse(text);
    // A good record has one result, whatever stands around it.
    if (line === good) expect(JSON.stringify({ error, ...rest }), shown).toBe(resultOfFirst(results[0]));
    // A line that is refused before it is parsed has no id of its own.
    if (!error || id !== number) expect(id, shown).toEqual(idOf(line, number));
    outcomes.push(error?.code ?? "answered");
    if (!error) {
      if (command === "score" && flags.length === 0) assertScores(rest, shown);
      continue;
    }
    expect(documented, shown).toContain(error.code);
    expect(error.message.length, shown).toBeLessThan(1000);
  }
  console.info(`${command} ${flags.join(" ")} over ${kind}: ${tally(outcomes)}`);
}

function resultOfFirst(text = ""): string {
  const { id: _, error, ...rest }: Result = JSON.parse(text);
  return JSON.stringify({ error, ...rest });
}

describe("every record comes back in its place", () => {
  const each = Math.ceil(count / Object.keys(kinds).length);
  const timeout = 60_000 + 100 * each;

  test.each(Object.keys(kinds))("score: %s", { timeout }, (kind) => attempt("score", [], kind, each));

  // What these two read is what `score` reads: fewer show that they live on as well.
  test.each([
    ["score", ["--per-token"], "candidates"],
    ["embed", ["--of", "prompt"], "conversations"],
  ])("%s %s", { timeout }, (command, flags, kind) => attempt(command, flags, kind, each));
});

test("train --check counts what it cannot use, and can use the rest", { timeout: 60_000 + 20 * count }, async () => {
  const files = ["pairs", "pairs of chats"].map((kind) => {
    const { lines } = linesOf(kinds[kind] ?? null, Math.ceil(count / 5));
    const file = path.join(folder, `${kind}.jsonl`);
    writeFileSync(file, joined(lines));
    return { file, records: lines.length };
  });
  const config = path.join(folder, "run.yaml");
  const stages = [{ data: files.map(({ file }) => ({ path: file })), steps: 1 }];
  writeFileSync(config, JSON.stringify({ model: "tiny", output: "out", on_bad_record: "skip", stages })); // YAML is more than JSON
  const { code, stderr } = await run(["train", config, "--check"]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const found = [...stderr.matchAll(/([\d,]+) of ([\d,]+) records\b/g)].map(([, ...counts]) =>
    counts.map((text) => Number(text.replace(",", ""))),
  );
  expect(found.map(([, records]) => records)).toEqual(files.map(({ records }) => records));
  for (const [usable = 0] of found) expect(usable).toBeGreaterThan(count / 100); // good ones at least
  console.info(`train --check: ${found.map((counts) => counts.join(" of ")).join(", ")} records can be used`);
});
