/** @file What becomes of a run that is killed, interrupted, or meets something that it cannot use: no work is lost. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { randomStream } from "../../src/data/random.ts";
import { root, run, start } from "../cli/command.ts";
import { reversed, runsIn } from "./runs.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-interruptions-"));
const fixtures = path.join(import.meta.dirname, "../fixtures");
const pairs = path.join(fixtures, "training/pairs.jsonl");
const validation = reversed(pairs, path.join(folder, "validation.jsonl"));
const steps = 16;

interface Changes {
  readonly data?: string;
  readonly learningRate?: number;
  readonly keys?: Readonly<Record<string, unknown>>;
}

/** Writes a configuration whose run goes into a folder of the same name. */
function configuration(name: string, { data = pairs, learningRate = 3e-4, keys = {} }: Changes = {}): string {
  const file = path.join(folder, `${name}.yaml`);
  const stage = { data: [{ path: data }], batch_size: 2, learning_rate: learningRate };
  const config = {
    model: path.join(fixtures, "parity/plain"),
    output: name,
    seed: 3,
    head_dropout: 0.1,
    stages: [
      { ...stage, name: "first", steps: steps / 2 },
      { ...stage, name: "second", epochs: (2 * (steps / 2)) / 6 },
    ],
    validation: { path: validation, every_steps: 5 },
    checkpoints: { every_steps: 1 },
    ...keys,
  };
  writeFileSync(file, stringify(config));
  return file;
}

const outputOf = (name: string, file: string): Buffer => readFileSync(path.join(folder, name, file));
const weights = ["model.safetensors", "value_head.safetensors"];

const { linesOf, stepsIn, until } = runsIn(folder);

/** The lines of a run, without what is different every time. */
const timelessLines = (name: string, file: string): unknown[] =>
  linesOf<object>(name, file).map((line) => ({ ...line, seconds: 0 }));

function expectSameEnd(name: string): void {
  for (const file of weights) expect(outputOf(name, file).equals(outputOf("whole", file)), file).toBe(true);
  expect(timelessLines(name, "metrics.jsonl")).toEqual(timelessLines("whole", "metrics.jsonl"));
  expect(timelessLines(name, "evaluations.jsonl")).toEqual(timelessLines("whole", "evaluations.jsonl"));
}

beforeAll(async () => {
  const { code, stderr } = await run(["train", configuration("whole")]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stepsIn("whole")).toBe(steps);
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("killed at several moments and resumed each time, it ends with the same bits", { timeout: 120_000 }, async () => {
  const config = configuration("killed");
  const seed = Number(process.env.VL_REWARD_TEST_SEED ?? Date.now());
  console.info(`The moments follow from VL_REWARD_TEST_SEED=${seed}.`);
  const moments = randomStream("moments", seed);
  for (const [resume, moment] of [2, 3, 3, 4].entries()) {
    const before = stepsIn("killed");
    const child = start("train", config, ...(resume > 0 ? ["--resume"] : []));
    child.stderr.resume();
    await until("killed", Math.min(before + moment, steps - 1), child);
    await sleep(moments() % 60); // in a step, in a state being written, between them
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  const { code, stderr } = await run(["train", config, "--resume"]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stderr).toMatch(/16 steps, \d+ of them done/);
  expectSameEnd("killed");
});

it("Ctrl-C saves the state and exits with 130; resumed, it ends with the same bits", { timeout: 60_000 }, async () => {
  const config = configuration("interrupted", { keys: { checkpoints: { every_minutes: 0 } } });
  const child = start("train", config);
  child.stderr.resume();
  await until("interrupted", 3, child);
  child.kill("SIGINT");
  const [code] = await once(child, "exit");
  expect(code).toBe(130);
  expect(readdirSync(path.join(folder, "interrupted/checkpoints")).at(-1)).toBe(
    `step-${String(stepsIn("interrupted")).padStart(8, "0")}`,
  );
  expect((await run(["train", config, "--resume"])).code).toBe(0);
  expectSameEnd("interrupted");
});

it("announces what is different when it resumes, and refuses another configuration or other data", async () => {
  const config = configuration("changed", { keys: { checkpoints: { every_steps: 8 } } });
  cpSync(path.join(folder, "killed/checkpoints"), path.join(folder, "changed/checkpoints"), { recursive: true });
  const other = await run(["train", config, "--resume", "--set", "seed=4", "--set", "max_pixels=100000"]);
  expect(other.code).toBe(2);
  expect(other.stderr).toContain("another seed (was 3, is 4), another max_pixels (was not set, is 100000)");
  const threads = await run(["train", config, "--resume", "--set", "threads=1", "--set", "token_budget=64"]);
  expect(threads.code).toBe(0);
  expect(threads.stderr).toMatch(/threads was \d+ when the state was saved and is 1|token_budget was \d+ .* and is 64/);
});

it("does not write over the states of another run", async () => {
  const { code, stderr } = await run(["train", configuration("killed")]);
  expect(code).toBe(2);
  expect(stderr).toContain("Add --resume");
});

describe("a record that turns out to be unusable in the middle", () => {
  const data = path.join(folder, "damaged.jsonl");
  /** Its header is whole, so the check before training lets it pass. */
  const picture = path.join(folder, "damaged.jpg");
  const bad = {
    messages: [
      {
        role: "user",
        content: [
          { type: "image", image: picture },
          { type: "text", text: "What?" },
        ],
      },
    ],
    chosen: "A.",
    rejected: "B.",
  };
  const ordered = { shuffle: false, batch_size: 2, learning_rate: 3e-4, warmup_ratio: 0 };

  beforeAll(() => {
    writeFileSync(picture, readFileSync(path.join(fixtures, "parity/media/odd.jpg")).subarray(0, 700));
    const text = (n: number) => ({ messages: [{ role: "user", content: `${n}?` }], chosen: `${n}.`, rejected: "No." });
    const records = [text(1), text(2), text(3), bad, text(5), text(6)];
    writeFileSync(data, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  });

  it("ends the run with its place, and the steps before it are saved", async () => {
    const stages = [{ ...ordered, name: "only", data: [{ path: data }], steps: 3 }];
    const { code, stderr } = await run([
      "train",
      configuration("refused", { keys: { stages, validation: undefined } }),
    ]);
    expect(code).toBe(2);
    expect(stderr).toContain(`${data}:4: `);
    expect(stepsIn("refused")).toBe(1);
    expect(readdirSync(path.join(folder, "refused/checkpoints"))).toEqual(["step-00000001"]);
  });

  it("is set aside where that is asked for: the step is the mean over the others", async () => {
    const stages = [{ ...ordered, name: "only", data: [{ path: data }], steps: 2 }];
    const keys = { stages, validation: undefined, on_bad_record: "skip", head_dropout: 0 };
    const { code, stderr } = await run(["train", configuration("skipped", { keys })]);
    expect(code).toBe(0);
    expect(stderr).toContain(`${data}:4 is set aside`);

    const without = path.join(folder, "without.jsonl");
    const lines = readFileSync(data, "utf8").split("\n");
    writeFileSync(without, `${[lines[0], lines[1], lines[2]].join("\n")}\n`);
    const alone = [
      { ...ordered, name: "first", data: [{ path: without }], steps: 1 },
      { ...ordered, name: "second", data: [{ path: path.join(folder, "third.jsonl") }], steps: 1, batch_size: 1 },
    ];
    writeFileSync(path.join(folder, "third.jsonl"), `${lines[2]}\n`);
    await run(["train", configuration("alone", { keys: { ...keys, stages: alone } })]);
    const [, skipped] = linesOf<{ loss: number; grad_norm: number; pairs: number }>("skipped");
    const [, expected] = linesOf<{ loss: number; grad_norm: number; pairs: number }>("alone");
    expect(skipped?.pairs).toBe(1);
    expect(skipped?.loss).toBeCloseTo(expected?.loss ?? Number.NaN, 5);
    expect((skipped?.grad_norm ?? 0) / (expected?.grad_norm ?? 1)).toBeCloseTo(1, 5);
  });
});

it("a loss that is no number stops the run with the records named", async () => {
  const data = path.join(folder, "endless.jsonl");
  const lines = readFileSync(pairs, "utf8").split("\n");
  const record: object = JSON.parse(lines[0] ?? "");
  writeFileSync(data, `${JSON.stringify(record)}\n${JSON.stringify({ ...record, margin: 1e39 })}\n`);
  const keys = {
    stages: [{ name: "only", data: [{ path: data }], steps: 2, batch_size: 1, shuffle: false }],
    validation: undefined,
  };
  const { code, stderr } = await run(["train", configuration("diverged", { data, keys })]);
  expect(code).toBe(2);
  expect(stderr).toContain(`Step 2: the loss is no finite number, with ${data}:2.`);
  expect(readdirSync(path.join(folder, "diverged/checkpoints"))).toEqual(["step-00000001"]);
});

it("weights that have become infinite are not saved", async () => {
  const config = configuration("exploded", { learningRate: 1e38, keys: { validation: undefined } });
  const { code, stderr } = await run(["train", config]);
  expect(code).toBe(2);
  // Which of the three notices it first is the arithmetic's; resuming.test.ts follows the advice.
  expect(stderr).toMatch(/weights are no finite numbers|(loss|gradient) is no finite number/);
  expect(stderr).toContain("smaller learning rate (--set stages.0.learning_rate=...)");
  for (const state of readdirSync(path.join(folder, "exploded/checkpoints"))) {
    const stored = readFileSync(path.join(folder, "exploded/checkpoints", state, "weights.safetensors"));
    const header = Number(stored.readBigUInt64LE());
    const values = new Float32Array(stored.buffer.slice(stored.byteOffset + 8 + header));
    expect(values.every(Number.isFinite), state).toBe(true);
  }
});

it("a full disk ends the run in words, and what was saved before is whole", async () => {
  mkdirSync(path.join(folder, "full"), { recursive: true });
  const config = configuration("full", { keys: { checkpoints: { every_steps: 2 } } });
  // Files may have 64 KiB at most: the weights do not fit.
  const command = `ulimit -f 64; exec "$0" bin/vl-reward.mjs train "$1"`;
  const child = spawn("bash", ["-c", command, process.execPath, config], { cwd: root });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  const [code] = await once(child, "exit");
  expect(code).toBe(2);
  expect(stderr).toMatch(/vl-reward: .*weights\.safetensors/);
  expect(stepsIn("full")).toBe(2);
  expect(readdirSync(path.join(folder, "full/checkpoints"))).toEqual([]);
  expect((await run(["train", config, "--resume"])).code).toBe(0);
});

it("a folder that is deleted while the run goes on ends it in words, and no second one is begun in its place", async () => {
  const config = configuration("deleted", { keys: { validation: undefined } });
  const child = start("train", config);
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  await until("deleted", 2, child);
  const ended = once(child, "exit");
  // States are being written into it: moved away first, it cannot be written into while it is being deleted.
  renameSync(path.join(folder, "deleted"), path.join(folder, "gone"));
  rmSync(path.join(folder, "gone"), { recursive: true, maxRetries: 50 });
  const [code] = await ended;
  expect(code).toBe(2);
  expect(stderr).toMatch(
    /vl-reward: .*(was deleted or moved away while it was being written|cannot be written: ENOENT)/,
  );
  expect(existsSync(path.join(folder, "deleted"))).toBe(false);
});
