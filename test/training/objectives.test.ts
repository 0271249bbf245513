/**
 * @file Objectives as values: one that the program does not have trains beside those that it has, tells its sums, and goes on
 * after a kill with the state that it had come to. What no objective asks for is not loaded.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { stringify } from "yaml";
import { runsIn } from "./runs.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-objectives-"));
const parity = path.join(import.meta.dirname, "../fixtures/parity");
const program = fileURLToPath(new URL("third-objective.mjs", import.meta.url));
const data = path.join(folder, "pairs.jsonl");
const { linesOf } = runsIn(folder);

/** Six questions, with what a policy is said to have thought of their answers: 0.5, 1, 1.5 ... between right and wrong. */
const gaps = [0.5, 1, 1.5, 2, 2.5, 3];
const records = gaps.map((gap, number) => ({
  messages: [{ role: "user", content: `What is ${number} and ${number}?` }],
  chosen: `It is ${2 * number}.`,
  rejected: `${2 * number + 1}, I think.`,
  reference_log_probs: [-8, -8 - gap],
}));

const steps = 12;
const weights = [{ pairwise: 1, anchor: 0.5 }, { anchor: 1 }];

function configuration(name: string, keys: Readonly<Record<string, unknown>> = {}): string {
  const file = path.join(folder, `${name}.yaml`);
  const stage = { data: [{ path: data }], batch_size: gaps.length, learning_rate: 3e-4, steps: steps / 2 };
  const stages = [
    { ...stage, name: "first" },
    { ...stage, name: "second" },
  ];
  const rest = { head_dropout: 0.1, checkpoints: { every_steps: 2, keep_last: steps } };
  writeFileSync(
    file,
    stringify({ model: path.join(parity, "plain"), output: name, seed: 5, ...rest, stages, ...keys }),
  );
  return file;
}

function runWith(config: string, objectives: readonly object[], ...options: readonly string[]) {
  const found = spawnSync(process.execPath, [program, config, JSON.stringify(objectives), ...options], {
    encoding: "utf8",
  });
  const lines: Record<string, number>[] = found.stdout
    .trim()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
  return { ...found, lines };
}

interface Line {
  readonly stage: string;
  readonly step: number;
  readonly loss: number;
  readonly accuracy: number;
  readonly reward: number;
  readonly reward_square: number;
  readonly reference_gap: number;
}

beforeAll(() => {
  writeFileSync(data, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  const { status, stderr } = runWith(configuration("whole"), weights);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The running mean before each step, from what the steps before have told. */
function deltas(lines: readonly Line[]): number[] {
  const found = [0];
  for (const { reward } of lines) found.push(0.75 * (found.at(-1) ?? 0) + 0.25 * (reward / 2));
  return found;
}

it("tells its sums, and its state enters the loss of the next step, from one stage to the other", () => {
  const lines = linesOf<Line>("whole");
  const delta = deltas(lines);
  expect(lines).toHaveLength(steps);
  for (const [index, { stage, loss, reward, reward_square, reference_gap, accuracy }] of lines.entries()) {
    expect(reference_gap).toBeCloseTo(gaps.reduce((sum, gap) => sum + gap) / gaps.length, 10);
    expect(accuracy).toBeGreaterThanOrEqual(0); // rewards are read, whoever asks for them
    if (stage === "first") continue;
    // Of two answers a pair: the sum of (reward - delta)^2
    const before = delta[index] ?? Number.NaN;
    expect(loss / (reward_square - 2 * before * reward + 2 * before ** 2)).toBeCloseTo(1, 4);
  }
});

it("is saved with the run", () => {
  const delta = deltas(linesOf<Line>("whole"));
  for (const name of readdirSync(path.join(folder, "whole/checkpoints"))) {
    const text = readFileSync(path.join(folder, "whole/checkpoints", name, "state.json"), "utf8");
    const { step, objectives } = JSON.parse(text);
    expect(objectives).toEqual({ anchor: { delta: delta[step] } });
  }
});

it("killed twice and resumed, it ends with the same bits", () => {
  const config = configuration("killed");
  expect(runWith(config, weights, "--kill=5").signal).toBe("SIGKILL");
  expect(runWith(config, weights, "--resume", "--kill=9").signal).toBe("SIGKILL");
  expect(runWith(config, weights, "--resume").status).toBe(0);
  const timeless = (name: string) => linesOf<Line>(name).map((line) => ({ ...line, seconds: 0 }));
  expect(timeless("killed")).toEqual(timeless("whole"));
  for (const file of ["model.safetensors", "value_head.safetensors"]) {
    const [killed, whole] = ["killed", "whole"].map((name) => readFileSync(path.join(folder, name, file)));
    expect(whole && killed?.equals(whole), file).toBe(true);
  }
});

it("stands in the report, and in the card with its weights by stage", () => {
  expect(readFileSync(path.join(folder, "whole/report.html"), "utf8")).toContain("Squared reward");
  const card = readFileSync(path.join(folder, "whole/README.md"), "utf8");
  expect(card).toMatch(/\| first \|.*\| pairwise \+ 0\.5 anchor \|\n\| second \|.*\| anchor \|\n/);
  expect(card).toContain("- Loss `anchor`: (reward - running mean)^2\n");
  expect(card).toContain("- Loss `pairwise`: -log sigmoid(chosen - rejected)\n");
  expect(card).not.toContain("cross-entropy");
});

it("a language head of its own is loaded, and told, only where a stage models language", () => {
  const bytes = (objectives: readonly object[]): number => {
    const config = configuration("untied", { model: path.join(parity, "grouped"), output: JSON.stringify(objectives) });
    const { status, stderr, lines } = runWith(config, objectives);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return lines[0]?.weights ?? Number.NaN;
  };
  const without = bytes([{ pairwise: 1 }, { pairwise: 1 }]);
  const withLanguage = bytes([{ pairwise: 1 }, { pairwise: 1, language: 1 }]);
  expect(withLanguage - without).toBe(1024 * 48 * 4); // lm_head.weight of the fixture, in float32
});
