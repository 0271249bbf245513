/** @file What a saved state is bound to, through the command: what may be different when a run goes on, and what may not. */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { run } from "../cli/command.ts";
import { runsIn } from "./runs.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-resuming-"));
const fixtures = path.join(import.meta.dirname, "../fixtures");
const { linesOf } = runsIn(folder);

/** A folder with a configuration, its data and its model, and a run of it that is not at its end. */
interface Place {
  readonly at: string;
  readonly config: string;
}

function place(name: string, keys: Readonly<Record<string, unknown>> = {}): Place {
  const at = path.join(folder, name);
  mkdirSync(path.join(at, "data"), { recursive: true });
  cpSync(path.join(fixtures, "parity/plain"), path.join(at, "model"), { recursive: true });
  const picture = path.join(fixtures, "parity/media/odd.jpg");
  cpSync(picture, path.join(at, "data/odd.jpg"));
  const ask = (content: unknown) => ({ messages: [{ role: "user", content }], chosen: "Yes.", rejected: "No." });
  const records = [
    ...["one", "two", "three", "four", "five"].map((text) => ask(text)),
    ask([
      { type: "image", image: "odd.jpg" },
      { type: "text", text: "six" },
    ]),
  ];
  writeFileSync(path.join(at, "data/pairs.jsonl"), records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  writeFileSync(path.join(at, "data/other.jsonl"), `${JSON.stringify(ask("seven"))}\n`);
  const config = path.join(at, "run.yaml");
  const stages = [{ data: [{ path: "data/pairs.jsonl" }], steps: 4, batch_size: 2, learning_rate: 3e-4 }];
  writeFileSync(
    config,
    stringify({ model: "model", output: "out", threads: 1, stages, checkpoints: { every_steps: 2 }, ...keys }),
  );
  return { at, config };
}

const train = (config: string, ...flags: readonly string[]) => run(["train", config, ...flags]);
const resume = (config: string, ...flags: readonly string[]) => train(config, "--resume", ...flags);

/** A copy of the run that has ended, without its last state. */
function begun(name: string): Place {
  const at = path.join(folder, name);
  cpSync(path.join(folder, "begun"), at, { recursive: true });
  rmSync(path.join(at, "out/checkpoints/step-00000004"), { recursive: true });
  return { at, config: path.join(at, "run.yaml") };
}

const lengthOf = (file: string): number => statSync(file).size;

const replaceIn = (file: string, from: string, to: string): void =>
  writeFileSync(file, readFileSync(file, "utf8").replace(from, to));

/** Changes a number of a model in the middle of its embeddings, as more training would. */
function changeWeight(model: string): void {
  const file = path.join(model, "model.safetensors");
  const [tensor] = readSafetensorsHeader(file).values();
  writeSync(openSync(file, "r+"), Float32Array.of(0.5), 0, 4, tensor?.offset ?? 0);
}

beforeAll(async () => {
  expect(await train(place("begun").config)).toMatchObject({ code: 0 });
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a run goes on", () => {
  it("where its data, its model and its output have moved to, with the same bits", async () => {
    const { at, config } = begun("moved");
    renameSync(path.join(at, "data"), path.join(at, "elsewhere"));
    renameSync(path.join(at, "model"), path.join(at, "base"));
    renameSync(path.join(at, "out"), path.join(at, "results"));
    const sets = ["stages.0.data.0.path=elsewhere/pairs.jsonl", "model=base", "output=results"];
    const { code, stderr } = await resume(config, ...sets.flatMap((set) => ["--set", set]));
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).toContain("4 steps, 2 of them done");
    for (const [key, before, after] of [
      ["model", "model", "base"],
      ["output", "out", "results"],
      ["stages.0.data.0.path", "data/pairs.jsonl", "elsewhere/pairs.jsonl"],
    ] as const) {
      const [was, is] = [path.join(folder, "begun", before), path.join(at, after)].map((text) => JSON.stringify(text));
      expect(stderr).toContain(`${key} was ${was} when the state was saved and is ${is}.`);
    }
    const [moved, stayed] = [path.join(at, "results"), path.join(folder, "begun/out")].map((output) =>
      readFileSync(path.join(output, "model.safetensors")),
    );
    expect(moved?.equals(stayed ?? Buffer.alloc(0))).toBe(true);
  });

  it("with a smaller learning rate after it has diverged, as the error advises", async () => {
    const stages = [{ data: [{ path: "data/pairs.jsonl" }], steps: 4, batch_size: 2, learning_rate: 1e38 }];
    const { at, config } = place("diverged", { stages, checkpoints: { every_steps: 1 } });
    const first = await train(config);
    expect(first.code).toBe(2);
    const [advice = ""] = /(?<=--set )stages\.0\.learning_rate=(?=\.\.\.)/.exec(first.stderr) ?? [];
    expect(first.stderr).toMatch(/[Rr]esume from the one before with|or resume with a smaller learning rate/);
    expect(readdirSync(path.join(at, "out/checkpoints"))).toEqual(["step-00000001"]);
    const then = await resume(config, "--set", `${advice}1.0e-4`, "--set", "stages.0.schedule=constant");
    expect({ code: then.code, stderr: then.stderr }).toMatchObject({ code: 0 });
    expect(then.stderr).toContain("stages.0.learning_rate was 1e+38 when the state was saved and is 0.0001.");
    expect(then.stderr).toContain('stages.0.schedule was "cosine" when the state was saved and is "constant".');
    const rates = linesOf<{ learning_rate: number }>("diverged/out").map(({ learning_rate }) => learning_rate);
    expect(rates).toEqual([0, 1e-4, 1e-4, 1e-4]); // the first was of a warm-up
  });

  it("where what it has measured was moved away, and says so", async () => {
    const { at, config } = begun("without");
    rmSync(path.join(at, "out/metrics.jsonl"));
    const { code, stderr } = await resume(config);
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringMatching(/metrics\.jsonl is not there: /) });
    expect(linesOf<{ step: number }>("without/out").map(({ step }) => step)).toEqual([3, 4]);
  });

  it("past a record that has stopped it, where that is set aside", async () => {
    const { at, config } = place("bad", {
      stages: [{ data: [{ path: "data/pairs.jsonl" }], steps: 4, batch_size: 2, shuffle: false }],
    });
    // Its header is whole, so the check lets it pass.
    const picture = path.join(at, "data/odd.jpg");
    writeFileSync(picture, readFileSync(picture).subarray(0, 700));
    expect(await train(config)).toMatchObject({ code: 2, stderr: expect.stringContaining("pairs.jsonl:6: ") });
    const { code, stderr } = await resume(config, "--set", "on_bad_record=skip");
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).toContain('on_bad_record was "error" when the state was saved and is "skip".');
    expect(stderr).toContain("pairs.jsonl:6 is set aside");
  });
});

describe("a run does not go on", () => {
  it("with another configuration", async () => {
    const { config } = begun("configuration");
    const { code, stderr } = await resume(config, "--set", "optimizer.weight_decay=0.1", "--set", "train=[head]");
    expect(code).toBe(2);
    const [decay, parts] = [
      "optimizer.weight_decay (was 0, is 0.1)",
      'train (was ["merger","decoder","head"], is ["head"])',
    ];
    expect(stderr).toContain(`was saved with another ${parts}, another ${decay}, so that`);
  });

  it("with other data under the same name, or where other records of it can be used", async () => {
    const { at, config } = begun("data");
    rmSync(path.join(at, "data/odd.jpg"));
    const fewer = await resume(config, "--set", "on_bad_record=skip");
    expect(fewer).toMatchObject({ code: 2, stderr: expect.stringContaining("another data of stages.0.data.0") });
    writeFileSync(
      path.join(at, "data/pairs.jsonl"),
      '{"messages": [{"role": "user", "content": "?"}], "chosen": "a", "rejected": "b"}\n',
    );
    const other = await resume(config);
    expect(other).toMatchObject({ code: 2, stderr: expect.stringContaining("another data of stages.0.data.0") });
  });

  it("with other weights in the folder of its model, or another tokenizer", async () => {
    const weights = begun("weights");
    changeWeight(path.join(weights.at, "model"));
    const tokenizer = begun("tokenizer");
    const file = path.join(tokenizer.at, "model/chat_template.json");
    writeFileSync(file, `${readFileSync(file, "utf8")} `);
    for (const { config } of [weights, tokenizer]) {
      const { code, stderr } = await resume(config);
      expect(code).toBe(2);
      expect(stderr).toContain("saved with another model that training began with, so that");
    }
  });

  it.each<[what: string, file: string, change: (file: string) => void, found: RegExp]>([
    ["a changed number", "metrics.jsonl", (file) => replaceIn(file, '"loss":', '"loss":1'), /its first \d+ bytes have/],
    ["its last line cut away", "metrics.jsonl", (file) => truncateSync(file, lengthOf(file) - 10), /it has \d+ of \d+/],
    ["nothing left", "metrics.jsonl", (file) => writeFileSync(file, ""), /it has 0 of \d+ bytes/],
  ])("where what it has measured is no longer what it was: %s", async (what, file, change, found) => {
    const { at, config } = begun(what.replaceAll(" ", "-"));
    const log = path.join(at, "out", file);
    const lines = readFileSync(log, "utf8").split("\n");
    writeFileSync(log, `${lines.slice(0, 2).join("\n")}\n`); // up to the state that is there
    change(log);
    const { code, stderr } = await resume(config);
    expect(code).toBe(2);
    expect(stderr).toMatch(found);
    expect(stderr).toContain(
      `${log} is not what it was when ${path.join(at, "out/checkpoints/step-00000002")} was saved`,
    );
  });

  it("where a validation before the state has been left out", async () => {
    const validation = { path: "data/other.jsonl", every_steps: 1 };
    const { at, config } = place("measured", { validation });
    expect(await train(config)).toMatchObject({ code: 0 });
    rmSync(path.join(at, "out/checkpoints/step-00000004"), { recursive: true });
    writeFileSync(path.join(at, "out/evaluations.jsonl"), "");
    const { code, stderr } = await resume(config);
    expect({ code, stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/evaluations\.jsonl is not what/),
    });
  });

  it("from a state of another version of the program", async () => {
    const { at, config } = begun("version");
    const saved = path.join(at, "out/checkpoints/step-00000002");
    const state: object = JSON.parse(readFileSync(path.join(saved, "state.json"), "utf8"));
    const text = JSON.stringify({ ...state, version: 1, accuracy: null });
    const sums: object = JSON.parse(readFileSync(path.join(saved, "checksums.json"), "utf8"));
    const { crc32 } = await import("node:zlib");
    const own = { bytes: Buffer.byteLength(text), crc32: crc32(text) };
    writeFileSync(path.join(saved, "state.json"), text);
    writeFileSync(path.join(saved, "checksums.json"), JSON.stringify({ ...sums, "state.json": own }));
    const { code, stderr } = await resume(config);
    expect(code).toBe(2);
    expect(stderr).toMatch(/step-00000002 has the format 1 of another version of vl-reward; .*Finish the run with/);
  });
});

describe("a model of the hub", () => {
  const [first, second] = ["a".repeat(40), "b".repeat(40)] as const;
  const repository = path.join(folder, "hub/models--org--base");
  const env = { HF_HUB_CACHE: path.join(folder, "hub"), HF_HUB_OFFLINE: "1" };
  const pointTo = (commit: string): void => {
    mkdirSync(path.join(repository, "refs"), { recursive: true });
    writeFileSync(path.join(repository, "refs/main"), commit);
  };

  it("stands in the card by its commit, and a run goes on with that commit only", { timeout: 60_000 }, async () => {
    for (const commit of [first, second]) {
      cpSync(path.join(fixtures, "parity/plain"), path.join(repository, "snapshots", commit), { recursive: true });
    }
    changeWeight(path.join(repository, "snapshots", second));
    pointTo(first);
    const { at, config } = place("hub-run", { model: "org/base" });
    expect(await run(["train", config], "", env)).toMatchObject({ code: 0 });
    const card = readFileSync(path.join(at, "out/README.md"), "utf8");
    expect(card).toContain("base_model: org/base\n");
    expect(card).toContain(`base_model_revision: ${first}\n`);

    rmSync(path.join(at, "out/checkpoints/step-00000004"), { recursive: true });
    pointTo(second);
    const moved = await run(["train", config, "--resume"], "", env);
    expect(moved.code).toBe(2);
    expect(moved.stderr).toContain(
      `another model that training began with (it is now commit ${second}; expected org/base@${first})`,
    );
    const pinned = ["train", config, "--resume", "--set", `model=org/base@${first}`];
    expect(await run(pinned, "", env)).toMatchObject({ code: 0 });
  });
});
