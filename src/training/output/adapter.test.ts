/**
 * @file Adapters against peft 0.15.2: test/fixtures/adapter holds one that it has written, and the scores that it gives.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { plainReward, wholeConversation } from "../../../test/conversation.ts";
import { tensorSource } from "../../../test/tensor-source.ts";
import { readSafetensorsHeader } from "../../checkpoint/safetensors.ts";
import { type TensorSource, writeSafetensors } from "../../checkpoint/save.ts";
import { readRecord } from "../../data/record.ts";
import { familyOf } from "../../models/families.ts";
import type { Processor } from "../../models/processor.ts";
import { RewardModel } from "../../models/reward-model.ts";
import { placement } from "../../nn/index.ts";
import { liveTensors, noGrad, scope, tensorFrom } from "../../torch/index.ts";
import { addLora, loraTargets, withMergedUpdates } from "../step/lora.ts";
import { loadAdapter, writeAdapter } from "./adapter.ts";
import { exportCheckpoint } from "./export.ts";

const root = path.join(import.meta.dirname, "../../..");
const tiny = path.join(root, "test/fixtures/untrained");
const fixture = path.join(root, "test/fixtures/adapter");
const parity = path.join(root, "test/fixtures/parity");
const options = { rank: 4, alpha: 6, dropout: 0.25 };

const lines = (file: string): string[] => readFileSync(file, "utf8").trim().split("\n");
const expected = new Map(
  lines(path.join(fixture, "scores.jsonl")).map((line) => {
    const { id, scores } = JSON.parse(line) as { id: string; scores: [number] };
    return [id, scores[0]];
  }),
);

const owned = () => placement("cpu", "float32", "owned");
let folder: string;
let model: RewardModel;
let processor: Processor;
let before: ReturnType<typeof liveTensors>;
beforeAll(async () => {
  const config = RewardModel.load(tiny, owned());
  processor = await familyOf(tiny).loadProcessor({ limits: {} });
  config.dispose();
});
beforeEach(() => {
  before = liveTensors();
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-adapter-"));
  model = RewardModel.load(tiny, owned());
});
afterEach(() => {
  model.dispose();
  expect(liveTensors()).toEqual(before);
  rmSync(folder, { recursive: true });
});
afterAll(() => expect(expected.size).toBe(3));

/** The rewards of the fixture's records: text, several turns, a picture. */
async function rewardsOf(scored: RewardModel): Promise<Map<string, number>> {
  const rewards = new Map<string, number>();
  for (const [number, line] of lines(path.join(parity, "cases.jsonl")).entries()) {
    const read = readRecord(line, number);
    if ("error" in read || !expected.has(String(read.id)) || read.record.kind !== "conversation") continue;
    const { prompt, answers } = read.record;
    const group = await processor.prepare(prompt, answers, { baseFolder: parity });
    const [branch] = group.branches;
    if (!branch) throw new Error("no branch");
    const conversation = wholeConversation(group, branch);
    const reward = noGrad(() => scope(() => plainReward(scored, conversation).toFloat32Array()[0] ?? Number.NaN));
    rewards.set(String(read.id), reward);
  }
  return rewards;
}

async function expectRewards(scored: RewardModel, rewards: ReadonlyMap<string, number>): Promise<void> {
  const found = await rewardsOf(scored);
  expect([...found.keys()]).toEqual([...rewards.keys()]);
  for (const [id, reward] of rewards) expect(Math.abs((found.get(id) ?? Number.NaN) - reward), id).toBeLessThan(1e-5);
}

/** What an adapter's training changes. */
const adapted = (): TensorSource[] =>
  [...model.namedParameters()]
    .filter(([name]) => name.includes(".lora.") || name.startsWith("head.") || name === "visual.merger.ln_q.weight")
    .map(([name, parameter]) => tensorSource(name, parameter.stored));

describe("an adapter of peft", () => {
  test("gives peft's scores", async () => {
    const plain = await rewardsOf(model);
    loadAdapter(model, fixture, owned());
    await expectRewards(model, expected);
    for (const [id, reward] of expected) expect(Math.abs((plain.get(id) ?? 0) - reward)).toBeGreaterThan(0.5);
  });

  test("merged into an exported checkpoint, it gives the same scores", async () => {
    loadAdapter(model, fixture, owned());
    await exportCheckpoint({
      base: tiny,
      target: folder,
      trained: withMergedUpdates(model.backbone, adapted()),
      dtype: "float32",
      pixelLimits: {},
    });
    const merged = RewardModel.load(folder, owned());
    await expectRewards(merged, await rewardsOf(model));
    await expectRewards(merged, expected);
    merged.dispose();
  });

  test("written again, it is the same files but for what peft writes of its defaults", () => {
    loadAdapter(model, fixture, owned());
    writeAdapter({ folder, base: "models/tiny", options, trained: adapted() });
    for (const name of ["adapter_model.safetensors", "value_head.safetensors"]) {
      const [ours, theirs] = [folder, fixture].map((from) => path.join(from, name)) as [string, string];
      expect([...readSafetensorsHeader(ours)].sort(), name).toEqual([...readSafetensorsHeader(theirs)].sort());
      expect(readFileSync(ours).equals(readFileSync(theirs)), name).toBe(true);
    }
    const configOf = (from: string) =>
      JSON.parse(readFileSync(path.join(from, "adapter_config.json"), "utf8")) as Record<string, unknown>;
    const { target_modules, ...config } = configOf(folder);
    expect(configOf(fixture)).toMatchObject(config);
    expect(target_modules).toEqual([
      "visual.blocks.0.attn.qkv",
      "visual.merger.mlp.2",
      "model.layers.0.self_attn.q_proj",
      "model.layers.0.mlp.down_proj",
      "model.layers.1.self_attn.q_proj",
      "model.layers.2.self_attn.q_proj",
    ]);
    expect(readdirSync(folder)).toHaveLength(3);
  });
});

describe("refused", () => {
  beforeEach(() => cpSync(fixture, folder, { recursive: true }));

  test.each<[what: string, change: object, found: RegExp]>([
    ["another kind", { peft_type: "IA3" }, /peft_type/],
    ["a scaling of its own", { use_rslora: true }, /use_rslora/],
    ["a norm of its own", { use_dora: true }, /use_dora/],
    ["ranks by layer", { rank_pattern: { q_proj: 2 } }, /rank_pattern/],
    ["trained biases", { bias: "all" }, /bias/],
  ])("%s", (_, change, found) => {
    const file = path.join(folder, "adapter_config.json");
    const config = JSON.parse(readFileSync(file, "utf8")) as object;
    writeFileSync(file, JSON.stringify({ ...config, ...change }));
    expect(() => loadAdapter(model, folder, owned())).toThrow(
      expect.objectContaining({ code: "checkpoint_unsupported", message: expect.stringMatching(found) }),
    );
  });

  test("an adapter of another model", () => {
    const tensor = tensorFrom(new Float32Array(8), [4, 2]);
    const name = (matrix: string) => `base_model.model.model.layers.7.self_attn.q_proj.lora_${matrix}.weight`;
    writeSafetensors(path.join(folder, "adapter_model.safetensors"), [
      tensorSource(name("A"), tensor),
      tensorSource(name("B"), tensor),
    ]);
    tensor.dispose();
    expect(() => loadAdapter(model, folder, owned())).toThrow(
      expect.objectContaining({ code: "checkpoint_mismatch", message: expect.stringMatching(/layers\.7/) }),
    );
  });
});

describe("targets", () => {
  test.each<[targets: string[], some: string[], count: number]>([
    [["decoder"], ["model.layers.2.mlp.gate_proj", "model.layers.0.self_attn.o_proj"], 21],
    [["vision"], ["visual.blocks.3.attn.qkv", "visual.blocks.0.mlp.up_proj"], 20],
    [["q_proj", "gate_proj"], ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.gate_proj"], 6],
    [["*.gate_proj"], ["model.layers.1.mlp.gate_proj", "visual.blocks.0.mlp.gate_proj"], 7],
    [["visual.*.qkv", "model.layers.0.*"], ["visual.blocks.1.attn.qkv", "model.layers.0.mlp.down_proj"], 11],
    [["visual.merger.mlp.2"], ["visual.merger.mlp.2"], 1],
  ])("%s", (targets, some, count) => {
    const found = [...loraTargets(model.backbone, targets).keys()];
    expect(found).toEqual(expect.arrayContaining(some));
    expect(found).toHaveLength(count);
  });

  test.each([["q_porj"], ["qkv"], ["model.layers.9.*"]])("%s fits nothing", (target) => {
    expect(() => loraTargets(model.backbone, ["decoder", target])).toThrow(
      expect.objectContaining({ code: "config_invalid", message: expect.stringContaining(`"${target}"`) }),
    );
  });

  test("new updates change no reward and leave strict loading alone", async () => {
    const plain = await rewardsOf(model);
    const updates = addLora(model.backbone, { ...options, targets: ["decoder", "vision"] }, owned(), 5);
    expect(updates).toHaveLength(41);
    await expectRewards(model, plain);
    const [first, second] = updates;
    expect(first?.a.value.toFloat32Array().slice(0, 4)).not.toEqual(second?.a.value.toFloat32Array().slice(0, 4));
    RewardModel.load(tiny, owned()).dispose();
  });
});
