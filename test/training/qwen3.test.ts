/**
 * @file Training Qwen3 by the command: losses and gradient norms are PyTorch's (test/fixtures/qwen3), and what is exported scores
 * like what was trained.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { run } from "../cli/command.ts";

const fixtures = path.join(import.meta.dirname, "../fixtures/qwen3");

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-qwen3-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A run over all pairs in each step, in float32; keys are those of the configuration, others are left at their defaults. */
async function trained(
  name: string,
  model: string,
  keys: object = {},
): Promise<{ code: number | null; stderr: string }> {
  const data = [{ path: path.join(fixtures, "pairs.jsonl") }];
  const schedule = { steps: 4, batch_size: 6, learning_rate: 1e-3, schedule: "constant", warmup_ratio: 0 };
  const config = {
    model,
    output: path.join(folder, name),
    dtype: "float32",
    seed: 1,
    tensorboard: false,
    stages: [{ data, ...schedule }],
    ...keys,
  };
  const file = path.join(folder, `${name}.yaml`);
  writeFileSync(file, JSON.stringify(config)); // which is YAML, too
  return run(["train", file, "--device", "cpu"]);
}

interface Step {
  readonly loss: number;
  readonly grad_norm: number;
  readonly margin?: number;
}

const stepsIn = (file: string): Step[] =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line): Step => JSON.parse(line));

const metricsOf = (name: string): Step[] => stepsIn(path.join(folder, name, "metrics.jsonl"));

/** A copy of a checkpoint of the fixtures with other settings in its config.json, or without some of its files. */
function changed(name: string, shape: string, config: object, without: readonly string[] = []): string {
  const target = mkdtempSync(path.join(folder, `${name}-`));
  for (const file of readdirSync(path.join(fixtures, shape))) {
    if (without.includes(file)) continue;
    writeFileSync(path.join(target, file), readFileSync(path.join(fixtures, shape, file)));
  }
  const base = readJson(path.join(target, "config.json"));
  writeFileSync(path.join(target, "config.json"), JSON.stringify({ ...base, ...config }));
  return target;
}

const readJson = (file: string): object => JSON.parse(readFileSync(file, "utf8"));

/** The names of all tensors of a folder, with the file that each is in. */
function tensorsOf(name: string): Map<string, string> {
  const files = readdirSync(path.join(folder, name)).filter((file) => file.endsWith(".safetensors"));
  return new Map(
    files.flatMap((file) =>
      [...readSafetensorsHeader(path.join(folder, name, file))].map(([tensor]) => [tensor, file]),
    ),
  );
}

/** The mean margin over the pairs of a checkpoint, by `vl-reward score`. */
async function marginOf(model: string): Promise<number> {
  const flags = ["--model", model, "--device", "cpu", "--dtype", "float32"];
  const { code, stdout } = await run(["score", path.join(fixtures, "pairs.jsonl"), ...flags]);
  expect(code).toBe(0);
  const margins = stdout
    .trim()
    .split("\n")
    .map((line): number => JSON.parse(line).margin);
  return margins.reduce((sum, margin) => sum + margin, 0) / margins.length;
}

describe.each(["plain", "odd"])("%s, all weights, with the default parts", (shape) => {
  beforeAll(async () => {
    const { code, stderr } = await trained(shape, path.join(fixtures, shape));
    expect(stderr).not.toContain("vl-reward:");
    expect(code).toBe(0);
  });

  test("four steps have PyTorch's losses and gradient norms", () => {
    const expected = stepsIn(path.join(fixtures, `${shape}.train.jsonl`));
    const steps = metricsOf(shape);
    expect(steps).toHaveLength(expected.length);
    for (const [index, { loss, grad_norm }] of expected.entries()) {
      expect(Math.abs((steps[index]?.loss ?? Number.NaN) - loss), `loss ${index}`).toBeLessThan(2e-5);
      expect((steps[index]?.grad_norm ?? Number.NaN) / grad_norm, `norm ${index}`).toBeCloseTo(1, 4);
    }
  });

  test("the export has the head where the base has it, and other programs are told so", async () => {
    const config = readJson(path.join(folder, shape, "config.json"));
    const tensors = tensorsOf(shape);
    if (shape === "plain") {
      expect(config).toMatchObject({ architectures: ["Qwen3ForCausalLM"], rope_theta: 1e6, rope_scaling: null });
      expect(tensors.get("v_head.summary.bias")).toBe("value_head.safetensors");
      expect(tensors.has("score.weight")).toBe(false);
    } else {
      expect(config).toMatchObject({ architectures: ["Qwen3ForSequenceClassification"], num_labels: 1 });
      expect(tensors.get("score.weight")).toMatch(/^model/);
      expect([...tensors.values()]).not.toContain("value_head.safetensors");
    }
    expect(tensors.get("model.layers.1.self_attn.q_norm.weight")).toMatch(/^model/);
  });

  test("a tokenizer finds the chat template where it looks: a file of its own, or its settings", () => {
    const template = readFileSync(path.join(fixtures, "plain/chat_template.jinja"), "utf8"); // of both shapes
    const file = path.join(folder, shape, "chat_template.jinja");
    if (shape === "plain") expect(readFileSync(file, "utf8")).toBe(template);
    else {
      const settings = readJson(path.join(folder, shape, "tokenizer_config.json"));
      expect(settings).toMatchObject({ chat_template: template });
    }
  });

  test("what is exported scores further apart than the last step's pass did", async () => {
    const last = metricsOf(shape).at(-1)?.margin ?? Number.NaN;
    const [first, after] = await Promise.all([
      marginOf(path.join(fixtures, shape)),
      marginOf(path.join(folder, shape)),
    ]);
    expect(metricsOf(shape)[0]?.margin).toBeCloseTo(first, 4);
    expect(after).toBeGreaterThan(last);
  });
});

test("a run of no effect exports the scores of its base", async () => {
  for (const shape of ["plain", "odd"]) {
    const data = [{ path: path.join(fixtures, "pairs.jsonl") }];
    const stages = [{ data, steps: 1, batch_size: 6, learning_rate: 0 }];
    const { code } = await trained(`still-${shape}`, path.join(fixtures, shape), { stages });
    expect(code).toBe(0);
    expect(await marginOf(path.join(folder, `still-${shape}`))).toBe(await marginOf(path.join(fixtures, shape)));
  }
});

test("LoRA: adapters on the decoder, merged into the export", async () => {
  const lora = { rank: 4, alpha: 8, targets: ["decoder"] };
  const { code } = await trained("lora", path.join(fixtures, "odd"), { lora });
  expect(code).toBe(0);
  const steps = metricsOf("lora");
  const [first] = stepsIn(path.join(fixtures, "odd.train.jsonl"));
  expect(steps[0]?.loss).toBeCloseTo(first?.loss ?? Number.NaN, 4); // an update that is new changes nothing
  expect(steps.at(-1)?.loss).toBeLessThan(steps[0]?.loss ?? 0);
  expect(readdirSync(path.join(folder, "lora/adapter"))).toContain("adapter_model.safetensors");
  expect([...tensorsOf("lora").keys()].filter((name) => name.includes("lora"))).toEqual([]);
  expect(await marginOf(path.join(folder, "lora"))).toBeGreaterThan(steps.at(-1)?.margin ?? Number.NaN);
});

test("a base without a head gets one that fits score.weight", async () => {
  const base = changed("headless", "plain", {}, ["value_head.safetensors"]);
  const { code, stderr } = await trained("headless", base);
  expect(stderr).not.toContain("vl-reward:");
  expect(code).toBe(0);
  expect(readJson(path.join(folder, "headless/config.json"))).toMatchObject({
    architectures: ["Qwen3ForSequenceClassification"],
    num_labels: 1,
    torch_dtype: "float32",
  });
  expect(tensorsOf("headless").get("score.weight")).toBe("model.safetensors");
  expect(Number.isFinite(await marginOf(path.join(folder, "headless")))).toBe(true);
});

test("a part of a vision tower that somebody asks for is refused", async () => {
  const { code, stderr } = await trained("merger", path.join(fixtures, "plain"), { train: ["merger", "head"] });
  expect(code).toBe(2);
  expect(stderr).toContain("merger");
});
