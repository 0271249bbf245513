/** @file bfloat16 and LoRA through the command: what training measured is what the finished checkpoint scores. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { run } from "../cli/command.ts";
import { reversed, runsIn } from "./runs.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-precision-"));
const fixtures = path.join(import.meta.dirname, "../fixtures");
const pairs = path.join(fixtures, "training/pairs.jsonl");
const validation = reversed(pairs, path.join(folder, "validation.jsonl"));

function configuration(name: string, keys: Readonly<Record<string, unknown>>): string {
  const file = path.join(folder, `${name}.yaml`);
  const stage = { data: [{ path: pairs }], steps: 5, batch_size: 4, shuffle: false, warmup_ratio: 0 };
  const config = {
    model: path.join(fixtures, "parity/grouped"),
    output: name,
    stages: [{ ...stage, name: "only", schedule: "constant", learning_rate: 3e-4 }],
    validation: { path: validation, every_steps: 5 },
    ...keys,
  };
  writeFileSync(file, stringify(config));
  return file;
}

interface Line {
  readonly loss: number;
  readonly margin: number;
  readonly accuracy: number;
}

const { linesOf } = runsIn(folder);

/** The mean margin that the finished checkpoint gives. */
async function scoredMargin(name: string, ...flags: readonly string[]): Promise<number> {
  const { stdout, stderr } = await run(["score", pairs, "--model", path.join(folder, name), ...flags]);
  const margins = stdout
    .trim()
    .split("\n")
    .map((line): number => JSON.parse(line).margin);
  expect({ count: margins.length, stderr }).toMatchObject({ count: 6 });
  return margins.reduce((sum, margin) => sum + margin) / margins.length;
}

beforeAll(() => run(["--version"]));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("bfloat16", () => {
  const reference = readFileSync(path.join(fixtures, "training/grouped.train.jsonl"), "utf8").trim().split("\n");

  it("with float32 masters, losses follow float32's within its precision", async () => {
    expect(await run(["train", configuration("masters", { dtype: "bfloat16" })])).toMatchObject({ code: 0 });
    for (const [index, { loss }] of linesOf<Line>("masters", "metrics.jsonl").entries()) {
      const expected: Line = JSON.parse(reference[index] ?? "");
      expect(Math.abs(loss - expected.loss), `step ${index + 1}`).toBeLessThan(0.05); // a score is off by as much
    }
    const stored = readSafetensorsHeader(path.join(folder, "masters/model.safetensors"));
    expect(new Set([...stored.values()].map(({ dtype }) => dtype))).toEqual(new Set(["bfloat16"]));
    const [{ margin = Number.NaN } = {}] = linesOf<Line>("masters", "evaluations.jsonl");
    expect(await scoredMargin("masters", "--dtype", "bfloat16")).toBeCloseTo(margin, 1);
  });

  it("without masters, it still learns, and resumes from what it saved", async () => {
    const config = configuration("plain", {
      dtype: "bfloat16",
      master_weights: "none",
      checkpoints: { every_steps: 2 },
    });
    expect(await run(["train", config])).toMatchObject({ code: 0 });
    const [first, ...rest] = linesOf<Line>("plain", "metrics.jsonl");
    expect(rest.at(-1)?.loss).toBeLessThan(first?.loss ?? 0);
    const weights = () => readFileSync(path.join(folder, "plain/model.safetensors"));
    const whole = weights();
    rmSync(path.join(folder, "plain/checkpoints/step-00000005"), { recursive: true });
    rmSync(path.join(folder, "plain/model.safetensors"));
    expect(await run(["train", config, "--resume"])).toMatchObject({ code: 0 });
    expect(weights().equals(whole)).toBe(true);
  });
});

describe("LoRA", () => {
  const lora = { rank: 4, alpha: 8, dropout: 0.1 };

  it("merged into the finished checkpoint it gives the rewards of the unmerged model to 1e-5", async () => {
    const keys = { lora, train: ["merger", "head"], activation_checkpointing: true, save_dtype: "float32" };
    expect(await run(["train", configuration("lora", keys)])).toMatchObject({ code: 0 });
    const [{ margin = Number.NaN } = {}] = linesOf<Line>("lora", "evaluations.jsonl");
    expect(Math.abs(margin)).toBeGreaterThan(0.1);
    expect(Math.abs((await scoredMargin("lora")) - margin)).toBeLessThan(1e-5 * Math.max(1, Math.abs(margin)));
    for (const file of ["adapter_config.json", "adapter_model.safetensors", "value_head.safetensors"]) {
      expect(existsSync(path.join(folder, "lora/adapter", file)), file).toBe(true);
    }
  });

  it("the decoder's own weights stay as they were", async () => {
    const keys = { lora: { ...lora, targets: ["q_proj"] }, save_dtype: "float32" };
    expect(await run(["train", configuration("frozen", keys)])).toMatchObject({ code: 0 });
    const bytesOf = (file: string, name: string): Buffer => {
      const place = readSafetensorsHeader(file).get(name);
      if (!place) throw new Error(`${file} has no ${name}`);
      const size = place.shape.reduce((product, length) => product * length, 4);
      return readFileSync(file).subarray(place.offset, place.offset + size);
    };
    const exported = path.join(folder, "frozen/model.safetensors");
    const trained = path.join(folder, "lora/model.safetensors");
    const [kept, moved] = ["model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.weight"] as const;
    expect(bytesOf(exported, kept).equals(bytesOf(trained, kept))).toBe(false); // which had adapters everywhere
    const state = path.join(folder, "frozen/checkpoints/step-00000005/weights.safetensors");
    const names = [...readSafetensorsHeader(state).keys()];
    expect(
      names.filter((name) => /layers.*(up_proj|q_proj|norm)/.test(name)).every((name) => name.includes(".lora.")),
    ).toBe(true);
    expect(names).toContain(moved.replace(".weight", ".lora.a"));
    expect(names.some((name) => name.startsWith("model.embed_tokens"))).toBe(false);
  });
});
