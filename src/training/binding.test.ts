/** @file Which changes of a configuration forbid to go on from a saved state, and that the others are told. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { bindingOf, differences } from "./binding.ts";
import { loadTrainConfig } from "./config/config.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-binding-"));
afterAll(() => rmSync(folder, { recursive: true }));

const file = path.join(folder, "run.yaml");
writeFileSync(
  file,
  `model: tiny
output: out
lora: {}
stages:
  - name: first
    data: [{path: a.jsonl}, {generator: synthetic, options: {levels: [0, 1]}, count: 9}]
    epochs: 2
  - {name: second, data: [{path: b.jsonl}], steps: 9}
validation: {path: c.jsonl}
`,
);
const base = { fingerprint: "f", commit: null };
const boundBy = (...sets: string[]) => bindingOf(loadTrainConfig(file, sets), {}, base);

/** What a setting changes when the run goes on. */
const changedBy = (...sets: string[]) => differences(boundBy(), boundBy(...sets));

test("nothing is different from itself", () => {
  expect(changedBy()).toEqual({ forbidden: [], allowed: [] });
});

describe("forbidden", () => {
  test.each([
    ["seed=1", "seed (was 0, is 1)"],
    ["train=[head]", 'train (was ["merger","decoder","head"], is ["head"])'],
    ["lora.rank=8", "lora.rank (was 16, is 8)"],
    ["optimizer.weight_decay=0.1", "optimizer.weight_decay (was 0, is 0.1)"],
    ["optimizer.type=muon", 'optimizer.type (was "adamw", is "muon")'],
    ["optimizer.betas=[0.9, 0.99]", "optimizer.betas (was [0.9,0.999], is [0.9,0.99])"],
    ["loss.center_rewards_coefficient=0.1", "loss.center_rewards_coefficient (was 0, is 0.1)"],
    ["head_dropout=0.1", "head_dropout (was 0, is 0.1)"],
    ["master_weights=none", 'master_weights (was "float32", is "none")'],
    ["max_length=99", "max_length (was not set, is 99)"],
    ["max_pixels=100000", "max_pixels (was not set, is 100000)"],
    ["stages.1.steps=8", "stages.1.steps (was 9, is 8)"],
    ["stages.0.batch_size=3", "stages.0.batch_size (was 64, is 3)"],
    ["stages.0.objective.language=0.5", "stages.0.objective.language (was 0, is 0.5)"],
    ["stages.0.optimizer_state=keep", 'stages.0.optimizer_state (was "reset", is "keep")'],
    ["stages.0.data.0.weight=2", "stages.0.data.0.weight (was 1, is 2)"],
    ["stages.0.data.1.count=8", "stages.0.data.1.count (was 9, is 8)"],
    ["stages.0.data.1.options.levels=[0]", "stages.0.data.1.options.levels (was [0,1], is [0])"],
  ])("%s", (set, difference) => {
    expect(changedBy(set)).toEqual({ forbidden: [difference], allowed: [] });
  });

  test("a key that is gone, and one in place of another", () => {
    const { forbidden } = changedBy("validation.path=null", "validation.split=0.5");
    expect(forbidden).toEqual(["validation.split (was not set, is 0.5)"]);
    expect(changedBy("lora=null").forbidden).toContain("lora.rank (was 16, is not set)");
  });

  test("other data and another model", () => {
    const then = { ...boundBy(), data: { validation: "1", "stages.0.data.0": "2" } };
    const now = {
      ...boundBy(),
      data: { validation: "1", "stages.0.data.0": "3" },
      base: { ...base, fingerprint: "g" },
    };
    const { forbidden } = differences(then, now);
    expect(forbidden).toEqual(["data of stages.0.data.0", "model that training began with"]);
  });
});

describe("allowed and told", () => {
  test.each([
    ["stages.1.learning_rate=1.0e-6", "stages.1.learning_rate was 0.00001 when the state was saved and is 0.000001"],
    ["stages.1.schedule=constant", 'stages.1.schedule was "cosine" when the state was saved and is "constant"'],
    ["stages.1.warmup_ratio=0", "stages.1.warmup_ratio was 0.03 when the state was saved and is 0"],
    ["on_bad_record=skip", 'on_bad_record was "error" when the state was saved and is "skip"'],
    ["save_dtype=bfloat16", 'save_dtype was not set when the state was saved and is "bfloat16"'],
    ["validation.every_steps=5", "validation.every_steps was 200 when the state was saved and is 5"],
    ["checkpoints.keep_best=0", "checkpoints.keep_best was 1 when the state was saved and is 0"],
    ["tensorboard=false", "tensorboard was true when the state was saved and is false"],
  ])("%s", (set, difference) => {
    expect(changedBy(set)).toEqual({ forbidden: [], allowed: [difference] });
  });

  test("a commit of the hub with the same weights", () => {
    const at = (commit: string) => ({ ...boundBy(), base: { ...base, commit } });
    const difference = "the model's commit was 1 when the state was saved and is 2, with the same weights";
    expect(differences(at("1"), at("2"))).toEqual({ forbidden: [], allowed: [difference] });
  });
});
