/** Files of other tools, as they are: the same records in other wrappings have the same scores. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root, run } from "./command.ts";

const fixtures = join(root, "test/fixtures/records");
const folder = mkdtempSync(join(tmpdir(), "vl-reward-foreign-"));
const written = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

beforeAll(() => {
  copyFileSync(join(fixtures, "dot.png"), join(folder, "dot.png"));
  return run(["--version"]); // builds what is missing outside of the tests' time limits
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the same records", () => {
  test("score the same in every wrapping, from a file and through a pipe", async () => {
    const plain = await run(["score", join(fixtures, "pairs.jsonl")]);
    expect(plain.code).toBe(0);
    for (const name of ["pairs.jsonl.gz", "pairs-list.json", "pairs-utf16be.jsonl", "pairs.parquet"]) {
      expect(await run(["score", join(fixtures, name)])).toMatchObject({ code: 0, stdout: plain.stdout });
    }
    const piped = readFileSync(join(fixtures, "pairs-objects.json"));
    expect(await run(["score", "-"], piped)).toMatchObject({ code: 0, stdout: plain.stdout });
  });

  test("with a picture inside a table, beside it, or in the message", async () => {
    const asked = { chosen: "Red.", rejected: "Blue." };
    const content = [
      { type: "image", image: "dot.png" },
      { type: "text", text: "Which colour?" },
    ];
    const records = [
      { id: 0, messages: [{ role: "user", content }], ...asked },
      { id: 3, messages: [{ role: "user", content: "<image>Which colour?" }], images: ["dot.png"], ...asked },
    ];
    const ours = await run([
      "score",
      written("ours.jsonl", records.map((record) => JSON.stringify(record)).join("\n")),
    ]);
    const table = await run(["score", join(fixtures, "pictures-path-first.parquet")]);
    const [inMessage, beside] = ours.stdout.trim().split("\n");
    const rows = table.stdout.trim().split("\n");
    expect([rows.length, rows[0], rows[3]]).toEqual([4, inMessage, beside]);
  });

  test("train the same, with the format named", async () => {
    const check = async (data: string) => {
      const config = written(
        "check.yaml",
        `model: tiny\noutput: out\nstages: [{data: [{path: ${data}}], steps: 1, batch_size: 1}]\n`,
      );
      const { code, stderr } = await run(["train", config, "--check"]);
      expect(code).toBe(0);
      return stderr.replaceAll(data, "FILE");
    };
    const plain = await check(join(fixtures, "pairs.jsonl"));
    expect(plain).toContain("FILE: 3 of 3 records, 3 pairs");
    for (const name of ["pairs-list.json", "pairs.parquet", "pairs.jsonl.zst"]) {
      expect(await check(join(fixtures, name))).toBe(plain);
    }
    expect(await check(join(fixtures, "pictures-bytes-first.parquet"))).not.toContain("bad");
    expect(await check(join(fixtures, "pictures-path-first.parquet"))).toContain("4 of 4 records (rlaif-v)");
  });
});

test("a file has one format; --stats names it, and a record of another one is an error", async () => {
  const lines = [
    { id: "first", prompt: "hi", chosen: "hello", rejected: "go" },
    { id: "other", instruction: "hi", output: "hello" },
    { id: "last", prompt: [{ role: "user", content: "hi" }], chosen: "hello", rejected: "go" },
  ];
  const stats = join(folder, "stats.json");
  const { code, stdout } = await run(
    ["score", "-", "--stats", stats],
    lines.map((line) => JSON.stringify(line)).join("\n"),
  );
  expect(code).toBe(1);
  const [first, other, last] = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect([first.chosen, first.rejected]).toEqual([last.chosen, last.rejected]);
  expect(other).toMatchObject({
    id: "other",
    error: { code: "invalid_record", message: expect.stringMatching(/"alpaca".*line 1.*"trl"/) },
  });
  expect(JSON.parse(readFileSync(stats, "utf8"))).toMatchObject({ format: "trl", records: 3, failed: 1 });
});

test("what is no file of records is one sentence that says how to convert it, and exit code 2", async () => {
  for (const [name, content, what] of [
    ["a.zip", "PK\x03\x04 and more", /zip archive/],
    ["a.csv", "prompt,chosen,rejected\na,b,c\n", /comma/],
    ["a.gz", Buffer.concat([readFileSync(join(fixtures, "pairs.jsonl.gz")).subarray(0, 80)]), /damaged or cut short/],
  ] as const) {
    const { code, stdout, stderr } = await run(["score", written(name, content)]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(stderr).toMatch(what);
  }
});

test.each(["first", "last"])("pairs of whole conversations may stand among messages (%s)", async (place) => {
  const question = { role: "user", content: "hi" };
  const [better, worse] = ["hello", "go away"].map((content) => ({ role: "assistant", content }));
  const whole = { id: "whole", chosen: [question, better], rejected: [question, worse] };
  const ours = { id: "ours", messages: [question], chosen: "hello", rejected: "go away" };
  const lines = place === "first" ? [whole, ours] : [ours, whole];
  const { code, stdout } = await run(["score", "-"], lines.map((line) => JSON.stringify(line)).join("\n"));
  expect(code).toBe(0);
  const [one, other] = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect([one.chosen, one.rejected, one.margin]).toEqual([other.chosen, other.rejected, other.margin]);
});
