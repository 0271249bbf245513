/** @file One run over several processes: the numbers of one process, and nobody left waiting when one of them ends. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { root, run, start } from "../cli/command.ts";
import { reversed, runsIn } from "./runs.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-processes-"));
const fixtures = path.join(import.meta.dirname, "../fixtures");
const pairs = path.join(fixtures, "training/pairs.jsonl");
const validation = path.join(folder, "validation.jsonl");
reversed(pairs, validation, (index) => ["ä", "b", undefined][index % 3]);
const steps = 8;

function configuration(name: string, keys: Readonly<Record<string, unknown>> = {}): string {
  const file = path.join(folder, `${name}.yaml`);
  const config = {
    model: path.join(fixtures, "parity/plain"),
    output: name,
    threads: 1,
    optimizer: { weight_decay: 0.1 },
    stages: [{ name: "only", data: [{ path: pairs }], steps, batch_size: 4, learning_rate: 3e-4, warmup_ratio: 0 }],
    validation: { path: validation, every_steps: 4 },
    checkpoints: { every_steps: 4 },
    ...keys,
  };
  writeFileSync(file, stringify(config));
  return file;
}

interface Line {
  readonly loss: number;
  readonly grad_norm: number;
  readonly accuracy: number;
  readonly pairs: number;
  readonly tokens: number;
  readonly sources?: readonly { readonly source: string; readonly pairs: number; readonly accuracy: number }[];
}

const { linesOf, stepsIn, until } = runsIn(folder);

function expectLikeOne(name: string, one = "one"): void {
  for (const file of ["metrics.jsonl", "evaluations.jsonl"]) {
    const [found, expected] = [linesOf<Line>(name, file), linesOf<Line>(one, file)];
    expect(found.length).toBe(expected.length);
    for (const [index, line] of expected.entries()) {
      expect(Math.abs((found[index]?.loss ?? 9) / line.loss - 1), `${file}, loss ${index}`).toBeLessThan(1e-4);
      expect(found[index]).toMatchObject({ accuracy: line.accuracy, pairs: line.pairs });
      if (file === "evaluations.jsonl") {
        const sourcesOf = ({ sources = [] }: Line) =>
          sources.map(({ source, pairs, accuracy }) => [source, pairs, accuracy]);
        expect(sourcesOf(found[index] ?? line)).toEqual(sourcesOf(line));
        continue;
      }
      expect(Math.abs((found[index]?.grad_norm ?? 9) / line.grad_norm - 1), `norm ${index}`).toBeLessThan(1e-4);
      expect(found[index]?.tokens).toBe(line.tokens);
    }
  }
}

beforeAll(async () => {
  expect(await run(["train", configuration("one")])).toMatchObject({ code: 0 });
  const [evaluation] = linesOf<Line>("one", "evaluations.jsonl");
  expect(evaluation?.sources?.map(({ source, pairs }) => [source, pairs])).toEqual([
    ["ä", 2],
    ["b", 2],
  ]);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("two and three processes", () => {
  it.each([2, 3])("%i give the losses, norms and validation of one", { timeout: 60_000 }, async (processes) => {
    const name = `of-${processes}`;
    const { code, stderr } = await run(["train", configuration(name), "--processes", String(processes)]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expectLikeOne(name);
    // What each holds of masters and moments: a part of what one alone has, whose weights are their own masters.
    expect(stderr.match(/memory: .* optimizer/g)?.length).toBe(processes);
  });

  it("take Muon's steps, too, and one goes on from their state", { timeout: 60_000 }, async () => {
    const keys = { optimizer: { type: "muon", weight_decay: 0.1 } };
    const [one, two] = ["one-muon", "of-2-muon"].map((name) => configuration(name, keys)) as [string, string];
    expect(await run(["train", one])).toMatchObject({ code: 0 });
    expect(await run(["train", two, "--processes", "2"])).toMatchObject({ code: 0 });
    expectLikeOne("of-2-muon", "one-muon");
    expect(linesOf<Line>("one-muon", "metrics.jsonl")[4]?.loss).not.toBeCloseTo(
      linesOf<Line>("one", "metrics.jsonl")[4]?.loss ?? 0,
      4,
    );
    rmSync(path.join(folder, "of-2-muon/checkpoints/step-00000008"), { recursive: true });
    expect(await run(["train", two, "--resume"])).toMatchObject({ code: 0 });
    expectLikeOne("of-2-muon", "one-muon");
  });

  it("another number goes on from their state", { timeout: 60_000 }, async () => {
    const config = configuration("handed-on");
    for (const [from, processes] of [
      ["of-2", []],
      ["of-3", ["--processes", "2"]],
    ] as const) {
      rmSync(path.join(folder, "handed-on"), { recursive: true, force: true });
      cpSync(path.join(folder, from), path.join(folder, "handed-on"), { recursive: true });
      rmSync(path.join(folder, "handed-on/checkpoints/step-00000008"), { recursive: true });
      const { code, stderr } = await run(["train", config, "--resume", ...processes]);
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stderr).toContain("world_size was");
      expectLikeOne("handed-on");
    }
  });

  it("Ctrl-C is agreed on: the state is saved once, and all end with 130", { timeout: 60_000 }, async () => {
    const keys = { checkpoints: { every_minutes: 0 }, validation: undefined };
    const child = start("train", configuration("interrupted", keys), "--processes", "2");
    child.stderr.resume();
    await until("interrupted", 2, child);
    child.kill("SIGINT");
    const [code] = await once(child, "exit");
    expect(code).toBe(130);
    expect(readdirSync(path.join(folder, "interrupted/checkpoints"))).toEqual([
      `step-${String(stepsIn("interrupted")).padStart(8, "0")}`,
    ]);
  });

  it("a disk that is full for one ends all, in words", { timeout: 60_000 }, async () => {
    const command = `ulimit -f 64; exec "$0" bin/vl-reward.mjs train "$1" --processes 2`;
    const child = spawn("bash", ["-c", command, process.execPath, configuration("full")], { cwd: root });
    let stderr = "";
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk;
    });
    const [code] = await once(child, "exit");
    expect(code).toBe(2);
    expect(stderr).toMatch(/weights\.safetensors/);
    expect(stderr).toMatch(/\[rank 1\] vl-reward: Step 4: the state cannot be saved in another process/);
  });
});

it("a rank that is killed ends the other one within 30 s, with its number", { timeout: 90_000 }, async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  server.close();
  const config = configuration("killed", { stages: [{ data: [{ path: pairs }], steps: 100_000, batch_size: 4 }] });
  const ranks = [0, 1].map((rank) =>
    spawn(process.execPath, ["bin/vl-reward.mjs", "train", config], {
      cwd: root,
      env: {
        ...process.env,
        RANK: String(rank),
        WORLD_SIZE: "2",
        LOCAL_RANK: String(rank),
        MASTER_ADDR: "127.0.0.1",
        MASTER_PORT: String(port),
      },
    }),
  );
  const [first, second] = ranks;
  if (!first || !second) throw new Error("two ranks were started");
  let stderr = "";
  first.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  second.stderr.resume();
  await until("killed", 3, first);
  second.kill("SIGKILL");
  const [code] = await once(first, "exit");
  expect(code).toBe(2);
  expect(stderr).toMatch(/vl-reward: Rank 0 of 2, in .*rank 1/);
});
