/**
 * @file A new reward head of two layers, from a model without one to scores: trained, killed and resumed, exported under the
 * names of PyTorch's Sequential, scored.
 */

import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { stringify } from "yaml";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { run, start } from "../cli/command.ts";
import { reversed, runsIn } from "./runs.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-two-layer-head-"));
const fixtures = path.join(import.meta.dirname, "../fixtures");
const pairs = path.join(fixtures, "training/pairs.jsonl");
const base = path.join(folder, "base");
const held = reversed(pairs, path.join(folder, "held.jsonl"));
const { linesOf, until } = runsIn(folder);

function configuration(name: string, keys: Readonly<Record<string, unknown>> = {}): string {
  const file = path.join(folder, `${name}.yaml`);
  const stages = [{ data: [{ path: pairs }], batch_size: 4, steps: 10, learning_rate: 1e-3 }];
  const rest = { validation: { path: held, every_steps: 10 }, checkpoints: { every_steps: 1 } };
  writeFileSync(file, stringify({ model: base, output: name, head: { hidden: 24 }, stages, ...rest, ...keys }));
  return file;
}

beforeAll(async () => {
  cpSync(path.join(fixtures, "parity/plain"), base, { recursive: true });
  rmSync(path.join(base, "value_head.safetensors"));
  const { code, stderr } = await run(["train", configuration("whole")]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stderr).toContain("a new one of two layers, 24 wide between them");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("is exported in float32 under its names, and the card shows how to read it", () => {
  const header = readSafetensorsHeader(path.join(folder, "whole/value_head.safetensors"));
  expect(new Map([...header].map(([name, { dtype, shape }]) => [name, [dtype, ...shape]]))).toEqual(
    new Map([
      ["v_head.summary.0.weight", ["float32", 24, 64]],
      ["v_head.summary.0.bias", ["float32", 24]],
      ["v_head.summary.2.weight", ["float32", 1, 24]],
      ["v_head.summary.2.bias", ["float32", 1]],
    ]),
  );
  expect(readFileSync(path.join(folder, "whole/README.md"), "utf8")).toContain('head["0.weight"] @ hidden');
});

it("scores the margin that validation found", async () => {
  const [evaluation] = linesOf<{ margin: number }>("whole", "evaluations.jsonl").slice(-1);
  const { code, stdout, stderr } = await run([
    "score",
    pairs,
    "--model",
    path.join(folder, "whole"),
    "--device",
    "cpu",
  ]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const results = stdout
    .trim()
    .split("\n")
    .map((line): { margin: number } => JSON.parse(line));
  expect(results).toHaveLength(6);
  const mean = results.reduce((sum, { margin }) => sum + margin, 0) / results.length;
  expect(Math.abs(mean - (evaluation?.margin ?? Number.NaN))).toBeLessThan(1e-4);
});

it("killed and resumed, it ends with the same bits", async () => {
  const config = configuration("killed");
  const child = start("train", config);
  child.stderr.resume();
  await until("killed", 4, child);
  child.kill("SIGKILL");
  await once(child, "exit");
  expect((await run(["train", config, "--resume"])).code).toBe(0);
  for (const file of ["model.safetensors", "value_head.safetensors"]) {
    const [killed, whole] = ["killed", "whole"].map((name) => readFileSync(path.join(folder, name, file)));
    expect(whole && killed?.equals(whole), file).toBe(true);
  }
});

it("binds a resume: a head of another width is another run", async () => {
  const { code, stderr } = await run(["train", configuration("whole"), "--resume", "--set", "head.hidden=32"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/another head\.hidden \(was 24, is 32\)/);
});

it("is refused for a model that has a head", async () => {
  const config = configuration("refused", { model: path.join(fixtures, "parity/plain") });
  const { code, stderr } = await run(["train", config]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/head: .*parity\/plain has a reward head.*Leave out head/s);
});
