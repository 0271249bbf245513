/** @file `evaluate synthetic` end to end, on a model with random weights: what it measures, writes and refuses. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exitCode, run, start } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "vl-reward-evaluate-"));
beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits
afterAll(() => rmSync(folder, { recursive: true }));

const model = "test/fixtures/untrained";
const evaluate = (...flags: readonly string[]) => run(["evaluate", "synthetic", "--model", model, ...flags]);
const few = ["--questions", "3", "--size-questions", "2", "--sizes", "112,140"];

it("measures every category, by itself, by size and blind, and writes a page that claims nothing else of the model", {
  timeout: 120_000,
}, async () => {
  const card = join(folder, "card.md");
  const { code, stdout, stderr } = await evaluate(
    ...few,
    "--control",
    model,
    "--control-questions",
    "4",
    "--card",
    card,
  );
  expect(code, stderr).toBe(0);
  expect(stderr).toContain("random weights");
  expect(stderr).toMatch(/[\d,]+ questions in \d/);
  const { held_out: heldOut, unseen, ...rest } = JSON.parse(stdout);
  expect(rest).toMatchObject({
    benchmark: "synthetic",
    model,
    control: model,
    questions: 3,
    control_questions: 4,
    dtype: "float32",
  });
  expect(heldOut).toHaveLength(27);
  expect(unseen).toHaveLength(9);
  for (const { pairs, choice } of [...heldOut, ...unseen]) expect([pairs.count, choice.count]).toEqual([3, 3]);
  for (const { category, control, sizes } of heldOut) {
    const isText = ["sum", "larger", "format", "on-topic", "copy"].includes(category);
    expect(control?.count, category).toBe(isText ? undefined : 4);
    expect(sizes.map(({ size }: { size: number }) => size)).toEqual(isText ? [] : [112, 140]);
  }
  const page = readFileSync(card, "utf8");
  for (const { category } of heldOut) expect(page).toContain(`\`${category}\``);
  expect(page).toMatch(/^# test\/fixtures\/untrained:/);
  expect(page).not.toMatch(/trained from nothing|168 x 168|library_name/);
});

it("gives the same figures for the same seed, and others for another", { timeout: 120_000 }, async () => {
  const flags = ["--questions", "4", "--size-questions", "1", "--sizes", "112"];
  const [first, again, other] = [
    await evaluate(...flags),
    await evaluate(...flags),
    await evaluate(...flags, "--seed", "9"),
  ];
  expect(again.stdout).toBe(first.stdout);
  const figures = (text: string) => JSON.stringify(JSON.parse(text).calibration);
  expect(figures(other.stdout)).not.toBe(figures(first.stdout));
});

describe("a run that breaks off", () => {
  const quick = ["--questions", "30", "--size-questions", "2", "--sizes", "112"];

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)(
    "by %s with exit code %i keeps the categories that are done, and an earlier result",
    async (signal, code) => {
      const own = mkdtempSync(join(folder, "broken-"));
      const [output, kept] = [join(own, "result.json"), join(own, "result.incomplete.json")];
      writeFileSync(output, "of an earlier run");
      const child = start("evaluate", "synthetic", "--model", model, ...quick, "--output", output);
      let said = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        said += text;
      });
      child.stdout.resume();
      while (!existsSync(kept)) await sleep(5);
      child.kill(signal);
      expect(await exitCode(child), said).toBe(code);
      const { incomplete, held_out: heldOut, unseen } = JSON.parse(readFileSync(kept, "utf8"));
      expect(incomplete).toBe(true);
      const done = heldOut.length + unseen.length;
      expect(done).toBeGreaterThan(0);
      expect(done).toBeLessThan(36);
      for (const { pairs } of heldOut) expect(pairs.count).toBe(30);
      expect(said).toMatch(new RegExp(`Broken off: the (category|${done} categories).* in .*result.incomplete.json`));
      expect(readFileSync(output, "utf8")).toBe("of an earlier run");
    },
  );

  it("is forgotten once a run comes to its end", { timeout: 120_000 }, async () => {
    const own = mkdtempSync(join(folder, "whole-"));
    writeFileSync(join(own, "result.incomplete.json"), "of an earlier run");
    expect((await evaluate(...few, "--output", join(own, "result.json"))).code).toBe(0);
    expect(readdirSync(own)).toEqual(["result.json"]);
    expect(JSON.parse(readFileSync(join(own, "result.json"), "utf8"))).not.toHaveProperty("incomplete");
  });

  it("says that nothing is kept where no category is done", async () => {
    const child = start("evaluate", "synthetic", "--model", model, "--questions", "100000");
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    while (!said.includes("random weights")) await sleep(5);
    child.kill("SIGINT");
    expect(await exitCode(child)).toBe(130);
    expect(said).toContain("nothing is kept");
  });
});

it.each([
  [["--control", "nowhere"], /nowhere is not there.*npm run train:tiny-blind/],
  [["--sizes", "112,112"], /every size once/],
  [["--sizes", "113"], /multiple of 28/],
  [["--questions", "0"], /--questions/],
  [["--model", "nowhere"], /nowhere/],
])("refuses %j with exit code 2 and a sentence", async (flags, message) => {
  const { code, stdout, stderr } = await evaluate(...flags);
  expect([code, stdout]).toEqual([2, ""]);
  expect(stderr.trimEnd().split("\n").at(-1)).toMatch(message);
});

it("shows examples in its help", async () => {
  const { stdout } = await run(["evaluate", "synthetic", "--help"]);
  expect(stdout).toContain("Examples:\n  vl-reward evaluate synthetic");
});
