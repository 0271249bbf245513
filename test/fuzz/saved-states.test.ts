/**
 * @file Saved states of a training that something has happened to: what is taken up again is, byte for byte, a state that was
 * saved; or the damage is told and an earlier one is taken.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { VlRewardError } from "../../src/errors.ts";
import { tensorFrom } from "../../src/torch/index.ts";
import { latestState, loadState, noteAccuracy, saveState } from "../../src/training/output/saved-state.ts";
import { tensorSource } from "../tensor-source.ts";
import { damageFile } from "./folders.ts";
import { countOf, oneOf, randomOf, seed, tally } from "./random.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-fuzz-states-"));
const whole = path.join(folder, "whole/checkpoints");
const count = countOf("FOLDERS", 150);

beforeAll(() => {
  cpSync(import.meta.filename, path.join(folder, "whole/other.txt")); // what is around the states has to be there
  for (const step of [1, 2]) {
    const tensors = (name: string) => [tensorSource(name, tensorFrom(new Float32Array(2000).fill(step), [2000]))];
    const saved = saveState(whole, {
      step,
      state: { step },
      tensors: { weights: tensors("a"), optimizer: tensors("b") },
    });
    noteAccuracy(saved, 0.5);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

const filesOf = (state: string): [string, Buffer][] =>
  ["state.json", "weights.safetensors", "optimizer.safetensors"].map((name) => [
    name,
    readFileSync(path.join(state, name)),
  ]);

test(`${count} of them`, { timeout: 60_000 + 200 * count }, () => {
  const outcomes: string[] = [];
  for (let attempt = 0; attempt < count; attempt++) {
    const random = randomOf(attempt);
    const states = path.join(folder, "damaged/checkpoints");
    rmSync(states, { recursive: true, force: true });
    cpSync(whole, states, { recursive: true });
    const latest = path.join(states, "step-00000002");
    const names = readdirSync(latest);
    const done = [damageFile(latest, oneOf(random, names), random)];
    // Where a file is no longer listed, its absence must not pass either.
    if (random(4) === 0 && done[0]?.startsWith("checksums.json")) rmSync(path.join(latest, "weights.safetensors"));
    if (random(6) === 0) {
      writeFileSync(
        path.join(states, oneOf(random, ["step-00000003", "step-00000002.removed", "step-x"])),
        "no folder",
      );
      done.push("a file among the states");
    }
    const shown = `seed ${seed}, attempt ${attempt}: ${done.join(", ")}`;
    const told: string[] = [];
    let found: string | undefined;
    try {
      found = latestState(states, (message) => told.push(message));
    } catch (error) {
      if (!(error instanceof VlRewardError)) throw new Error(shown, { cause: error });
      outcomes.push(error.code);
      continue;
    }
    const taken = path.basename(found ?? "");
    expect(["step-00000001", "step-00000002"], shown).toContain(taken);
    if (taken === "step-00000001") expect(told.join(), shown).toContain("step 2 is damaged");
    expect(filesOf(path.join(states, taken)), shown).toEqual(filesOf(path.join(whole, taken)));
    expect(loadState(path.join(states, taken)).state, shown).toEqual({ step: Number(taken.slice(-1)) });
    outcomes.push(taken === "step-00000002" ? "harmless" : "told, and the one before taken");
  }
  console.info(`saved states: ${tally(outcomes)}`);
});
