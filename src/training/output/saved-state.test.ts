import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { tensorSource } from "../../../test/tensor-source.ts";
import type { TensorSource } from "../../checkpoint/save.ts";
import { keep, liveTensors, mapFile, scope, type Tensor, tensorFrom } from "../../torch/index.ts";
import { keepStates, latestState, loadState, noteAccuracy, saveState, type TensorFile } from "./saved-state.ts";

let output: string;
let folder: string;
let weight: Tensor;
let before: ReturnType<typeof liveTensors>;
beforeEach(() => {
  before = liveTensors();
  output = mkdtempSync(path.join(tmpdir(), "vl-reward-state-"));
  folder = path.join(output, "checkpoints");
  weight = keep(tensorFrom(Float32Array.of(1.5, -2, 0.1), [3]));
});
afterEach(() => {
  weight.dispose();
  expect(liveTensors()).toEqual(before);
  rmSync(output, { recursive: true });
});

const weights = (): TensorSource[] => [tensorSource("model.norm.weight", weight)];
const save = (step: number, state: unknown = { step }): string =>
  saveState(folder, { step, state, tensors: { weights: weights(), optimizer: weights() } });
const names = (): string[] => readdirSync(folder).sort();
const unexpected = (message: string): never => {
  throw new Error(`reported: ${message}`);
};

/** The values of a tensor of a state. */
function valuesOf(stateFolder: string, file: TensorFile, name: string): Float32Array {
  const place = loadState(stateFolder).tensors.get(file)?.get(name);
  if (!place) throw new Error(`${name} is absent`);
  return scope(() => mapFile(place.file, [place])[0]?.toFloat32Array() ?? new Float32Array());
}

test("what was saved comes back", () => {
  const state = { step: 7, best: { accuracy: 0.75 }, text: "naïve", list: [1e-300, null] };
  const saved = save(7, state);
  expect(saved).toBe(path.join(folder, "step-00000007"));
  expect(latestState(folder, unexpected)).toBe(saved);
  const loaded = loadState(saved);
  expect(loaded.state).toEqual(state);
  expect([...loaded.tensors].map(([file, tensors]) => [file, [...tensors.keys()]])).toEqual([
    ["weights", ["model.norm.weight"]],
    ["optimizer", ["model.norm.weight"]],
  ]);
  expect(valuesOf(saved, "weights", "model.norm.weight")).toEqual(Float32Array.of(1.5, -2, 0.1));
  expect(names()).toEqual(["step-00000007"]);
});

test("no state: a folder that is not there, or has none", () => {
  expect(latestState(folder, unexpected)).toBeUndefined();
  mkdirSync(folder);
  expect(latestState(folder, unexpected)).toBeUndefined();
});

test("a folder around it that is gone is not made again", () => {
  save(1);
  rmSync(output, { recursive: true });
  expect(() => save(2)).toThrow(expect.objectContaining({ code: "output_unwritable" }));
  expect(existsSync(output)).toBe(false);
  mkdirSync(output);
});

test("the latest by number, beyond eight digits too", () => {
  for (const step of [99_999_999, 3, 100_000_000, 20]) save(step);
  expect(latestState(folder, unexpected)).toBe(path.join(folder, "step-100000000"));
});

test("a state takes the place of one of the same step", () => {
  save(5, { turn: 1 });
  const second = save(5, { turn: 2 });
  expect(loadState(second).state).toEqual({ turn: 2 });
  expect(names()).toEqual(["step-00000005"]);
});

describe("what a killed process leaves", () => {
  test.each<[what: string, leave: (state: string) => void]>([
    ["a state that was being written", (state) => cpSync(state, path.join(folder, "step-00000009.incomplete"), copy)],
    ["a state that was being removed", (state) => cpSync(state, path.join(folder, "step-00000001.removed"), copy)],
    ["the former state of the same step", (state) => cpSync(state, `${state}.replaced`, copy)],
    ["the same step between two renames", (state) => renameSync(state, `${state}.replaced`)],
  ])("%s: the last whole state is found, the rest is gone", (_, leave) => {
    const state = save(4, { turn: 4 });
    leave(state);
    expect(latestState(folder, unexpected)).toBe(state);
    expect(loadState(state).state).toEqual({ turn: 4 });
    expect(names()).toEqual(["step-00000004"]);
  });

  const copy = { recursive: true } as const;

  test("saving goes on over it", () => {
    const state = save(4, { turn: 1 });
    cpSync(state, `${state}.incomplete`, copy);
    cpSync(state, `${state}.replaced`, copy);
    save(4, { turn: 2 });
    expect(loadState(state).state).toEqual({ turn: 2 });
    expect(names()).toEqual(["step-00000004"]);
  });
});

describe("a damaged state is reported and set aside, the one before is taken", () => {
  const flip = (file: string): void => {
    const byte = readFileSync(file).at(-1) ?? 0;
    const descriptor = openSync(file, "r+");
    writeSync(descriptor, Uint8Array.of(byte ^ 1), 0, 1, readFileSync(file).length - 1);
  };
  test.each<[what: string, damage: (state: string) => void, found: RegExp]>([
    ["a bit of the weights", (state) => flip(path.join(state, "weights.safetensors")), /bytes of weights\.safetensors/],
    [
      "a truncated file",
      (state) => truncateSync(path.join(state, "optimizer.safetensors"), 90),
      /optimizer\.safetensors has 90 bytes, expected \d+/,
    ],
    ["a file that is not there", (state) => rmSync(path.join(state, "weights.safetensors")), /weights\.safetensors/],
    ["state.json of zeros", (state) => writeFileSync(path.join(state, "state.json"), Buffer.alloc(13)), /state\.json/],
    ["no checksums", (state) => rmSync(path.join(state, "checksums.json")), /checksums\.json/],
    ["empty checksums", (state) => writeFileSync(path.join(state, "checksums.json"), "{}"), /does not list state/],
    ...["weights", "optimizer"].map((file): [string, (state: string) => void, RegExp] => [
      `checksums without those of the ${file}, with the file and without it`,
      (state) => {
        const list = path.join(state, "checksums.json");
        const { [`${file}.safetensors`]: _, ...others } = JSON.parse(readFileSync(list, "utf8"));
        writeFileSync(list, JSON.stringify(others));
        if (file === "optimizer") rmSync(path.join(state, `${file}.safetensors`));
      },
      new RegExp(`does not list ${file}`),
    ]),
    ["other checksums", (state) => writeFileSync(path.join(state, "checksums.json"), "[1]"), /not a list of checksums/],
    [
      "nothing left",
      (state) => {
        rmSync(state, { recursive: true });
        mkdirSync(state);
      },
      /checksums\.json/,
    ],
  ])("%s", (_, damage, found) => {
    const good = save(10);
    damage(save(20));
    const reports: string[] = [];
    expect(latestState(folder, (message) => reports.push(message))).toBe(good);
    expect(reports).toEqual([expect.stringMatching(found)]);
    expect(reports[0]).toMatch(/step 20 is damaged .* set aside as step-00000020\.damaged/);
    expect(names()).toEqual(["step-00000010", "step-00000020.damaged"]);

    // It no longer counts as one that is kept, and a new state of its step can be saved.
    save(20);
    keepStates(folder, { last: 1, best: 0 });
    expect(names()).toEqual(["step-00000020", "step-00000020.damaged"]);
    expect(latestState(folder, unexpected)).toBe(path.join(folder, "step-00000020"));
  });

  test("none is left: an error, not a new beginning", () => {
    flip(path.join(save(1), "weights.safetensors"));
    flip(path.join(save(2), "weights.safetensors"));
    expect(() => latestState(folder, () => {})).toThrow(
      expect.objectContaining({ code: "checkpoint_damaged", message: expect.stringContaining("all 2 are damaged") }),
    );
  });
});

describe("keepStates", () => {
  const accuracies = new Map([
    [1, 0.9],
    [2, 0.5],
    [3, 0.9],
    [5, 0.8],
    [6, 0.7],
  ]);
  beforeEach(() => {
    for (let step = 1; step <= 6; step++) {
      const saved = save(step);
      const accuracy = accuracies.get(step);
      if (accuracy !== undefined) noteAccuracy(saved, accuracy);
    }
  });

  test.each<[last: number, best: number, kept: number[]]>([
    [2, 0, [5, 6]],
    [1, 1, [3, 6]],
    [1, 2, [1, 3, 6]],
    [1, 3, [1, 3, 5, 6]],
    [3, 9, [1, 2, 3, 4, 5, 6]],
    [0, 0, [6]],
  ])("the last %d and the best %d", (last, best, kept) => {
    keepStates(folder, { last, best });
    expect(names()).toEqual(kept.map((step) => `step-0000000${step}`));
  });

  test("a state stays whole when its accuracy is noted, and one whose note is damaged counts as not measured", () => {
    expect(latestState(folder, unexpected)).toBe(path.join(folder, "step-00000006"));
    writeFileSync(path.join(folder, "step-00000003/evaluation.json"), '{"accuracy"');
    keepStates(folder, { last: 1, best: 1 });
    expect(names()).toEqual(["step-00000001", "step-00000006"]);
  });
});

// Every write to this device is answered as a full disk answers.
test.skipIf(!existsSync("/dev/full"))("a full disk: the state before stays (needs /dev/full)", () => {
  const good = save(1);
  const fills: TensorSource = {
    ...tensorSource("b", weight),
    read: () => {
      // By now the folder of the new state is there; what is written into it next finds no room.
      symlinkSync("/dev/full", path.join(folder, "step-00000002.incomplete", "optimizer.safetensors.incomplete"));
      return weight;
    },
  };
  expect(() => saveState(folder, { step: 2, state: {}, tensors: { weights: [fills], optimizer: weights() } })).toThrow(
    expect.objectContaining({ code: "output_unwritable", message: expect.stringContaining("the disk is full") }),
  );
  expect(names()).toEqual(["step-00000001"]);
  expect(latestState(folder, unexpected)).toBe(good);
});

describe("kill -9 at random moments", () => {
  const dist = (file: string): string =>
    JSON.stringify(pathToFileURL(path.join(import.meta.dirname, "../../../dist", file)).href);
  /** Saves in a loop, each turn's number in all values, and says which turns are saved. */
  const program = (stepOf: string): string => `
    const { keepStates, noteAccuracy, saveState } = await import(${dist("training/output/saved-state.js")});
    const { tensorFrom } = await import(${dist("torch/index.js")});
    const { writeSync } = await import("node:fs");
    for (let turn = Number(process.argv[2]); ; turn++) {
      const tensor = tensorFrom(new Float32Array(200_000).fill(turn), [200_000]);
      const { shape, dtype } = tensor;
      const sources = ["a", "b"].map((name) => ({ name, shape, dtype, read: () => tensor }));
      const tensors = { weights: sources, optimizer: sources };
      const saved = saveState(process.argv[1], { step: ${stepOf}, state: { turn }, tensors });
      tensor.dispose();
      writeSync(1, turn + "\\n");
      noteAccuracy(saved, turn % 5);
      keepStates(process.argv[1], { last: 1, best: 1 });
    }`;

  test.each<[how: string, stepOf: string]>([
    ["new states, of which few are kept", "turn"],
    ["one state, over and over", "1"],
  ])("%s: the last one that was said to be saved is there, or a later one", { timeout: 120_000 }, async (_, stepOf) => {
    let last = 0;
    const pauses = Array.from({ length: 6 }, () => Math.floor(Math.random() * 60));
    for (const pause of pauses) {
      const child = spawn(process.execPath, ["--input-type=module", "-e", program(stepOf), folder, String(last + 1)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let said = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        said += text;
      });
      const closed = once(child, "close");
      await Promise.race([once(child.stdout, "data"), closed]);
      await sleep(pause);
      child.kill("SIGKILL");
      expect((await closed)[1]).toBe("SIGKILL"); // it had not failed before
      const announced = Math.max(...said.split("\n").slice(0, -1).map(Number));

      const context = `pauses ${pauses}, after ${last}`;
      const found = latestState(folder, unexpected);
      if (!found) throw new Error(`no state: ${context}`);
      const { turn } = loadState(found).state as { turn: number };
      expect(turn, context).toBeGreaterThanOrEqual(announced);
      expect(turn, context).toBeLessThanOrEqual(announced + 1);
      for (const file of ["weights", "optimizer"] as const) {
        for (const name of ["a", "b"]) {
          expect(
            valuesOf(found, file, name).every((value) => value === turn),
            context,
          ).toBe(true);
        }
      }
      expect(
        names().every((name) => /^step-\d+$/.test(name)),
        context,
      ).toBe(true);
      last = turn;
    }
  });
});
