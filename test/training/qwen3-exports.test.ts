/**
 * @file What training Qwen3 leaves behind: a folder whose scores are those of the run's last state, by all weights and by adapters,
 * with the head in either place. What is asked of a model for text and cannot be is refused by name.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { readJson } from "../../src/files/json.ts";
import { type Outcome, run } from "../cli/command.ts";
import { reversed, runsIn } from "./runs.ts";

const fixtures = path.join(import.meta.dirname, "../fixtures/qwen3");
const pairs = path.join(fixtures, "pairs.jsonl");
const picture = path.join(import.meta.dirname, "../fixtures/parity/media/odd.jpg");

let folder: string;
let held: string; // the pairs in another order, for evaluations
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-qwen3-exports-"));
  held = reversed(pairs, path.join(folder, "held.jsonl"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A short run in float32, evaluated after its last step; keys are the configuration's. */
function train(name: string, model: string, keys: object = {}, data = pairs): Promise<Outcome> {
  const schedule = { steps: 4, batch_size: 6, learning_rate: 1e-3, schedule: "constant", warmup_ratio: 0 };
  const config = {
    model: path.join(fixtures, model),
    output: path.join(folder, name),
    dtype: "float32",
    seed: 1,
    tensorboard: false,
    stages: [{ data: [{ path: data }], ...schedule }],
    ...keys,
  };
  const file = path.join(folder, `${name}.yaml`);
  writeFileSync(file, JSON.stringify(config)); // which is YAML, too
  return run(["train", file, "--device", "cpu"]);
}

/** The mean margin and the mean of -log sigmoid of the margins, of what `vl-reward score` prints of a checkpoint. */
async function scored(model: string): Promise<{ margin: number; loss: number }> {
  const { code, stdout } = await run(["score", held, "--model", model, "--device", "cpu", "--dtype", "float32"]);
  expect(code).toBe(0);
  const margins = stdout
    .trim()
    .split("\n")
    .map((line): number => JSON.parse(line).margin);
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  return { margin: mean(margins), loss: mean(margins.map((margin) => Math.log1p(Math.exp(-margin)))) };
}

/** The names of a checkpoint's tensors, with the file that each is in. */
function tensorsOf(checkpoint: string): Map<string, string> {
  const files = readdirSync(checkpoint).filter((file) => file.endsWith(".safetensors"));
  return new Map(
    files.flatMap((file) =>
      [...readSafetensorsHeader(path.join(checkpoint, file))].map(([tensor]): [string, string] => [tensor, file]),
    ),
  );
}

const lora = { rank: 4, alpha: 8, targets: ["decoder"] };

describe.each<[model: string, how: string, keys: object]>([
  ["plain", "all weights", {}],
  ["plain", "LoRA", { lora }],
  ["thoughts/checkpoint", "all weights", {}],
  ["thoughts/checkpoint", "LoRA", { lora }],
])("%s, %s", (model, how, keys) => {
  const name = `${path.dirname(model)}-${how.replace(" ", "-")}`;
  beforeAll(async () => {
    const { code, stderr } = await train(name, model, { ...keys, validation: { path: held } });
    expect(stderr).not.toContain("vl-reward:");
    expect(code).toBe(0);
  });

  test("the export's scores are those of the last state, which is not the base's", async () => {
    const last = runsIn(folder)
      .linesOf<{ step: number; margin: number; loss: number }>(name, "evaluations.jsonl")
      .at(-1);
    expect(last?.step).toBe(4);
    const [before, after] = await Promise.all([scored(path.join(fixtures, model)), scored(path.join(folder, name))]);
    expect(after.margin).toBeCloseTo(last?.margin ?? Number.NaN, 4);
    expect(after.loss).toBeCloseTo(last?.loss ?? Number.NaN, 4);
    expect(Math.abs(after.margin - before.margin)).toBeGreaterThan(0.01);
  });

  test("weights are those of the base by name, the head where it was", () => {
    const [before, after] = [tensorsOf(path.join(fixtures, model)), tensorsOf(path.join(folder, name))];
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort()); // an lm_head stays
    const config = readJson(path.join(folder, name, "config.json"));
    if (model === "plain") {
      expect(after.get("v_head.summary.weight")).toBe("value_head.safetensors");
      expect(config).toMatchObject({ architectures: ["Qwen3ForCausalLM"] });
    } else {
      expect(after.get("score.weight")).toMatch(/^model/);
      expect(readdirSync(path.join(folder, name))).not.toContain("value_head.safetensors");
      expect(config).toMatchObject({ architectures: ["Qwen3ForSequenceClassification"], num_labels: 1 });
    }
  });
});

test.each<[what: string, keys: object, found: string]>([
  ["training the vision tower", { train: ["vision"] }, 'train: "vision" fits no weight'],
  [
    "adapters on the vision tower",
    { lora: { ...lora, targets: ["vision"] } },
    'lora.targets: "vision" fits no linear layer',
  ],
])("%s is refused", async (_, keys, found) => {
  const { code, stderr } = await train("refused", "plain", keys);
  expect(code).toBe(2);
  expect(stderr).toContain(found);
});

describe("a pair with a picture among others", () => {
  const mixed = (): string => {
    const content = [
      { type: "image", image: picture },
      { type: "text", text: "Hm?" },
    ];
    const record = { messages: [{ role: "user", content }], chosen: "a", rejected: "b" };
    const file = path.join(folder, "mixed.jsonl");
    writeFileSync(file, `${readFileSync(pairs, "utf8").trim()}\n${JSON.stringify(record)}\n`);
    return file;
  };
  const reason = "first line 7: the conversation has a picture, and Qwen3 reads text alone";

  test("ends the run before it begins", async () => {
    const { code, stderr } = await train("stops", "plain", {}, mixed());
    expect(code).toBe(2);
    expect(stderr).toContain(reason);
    expect(runsIn(folder).stepsIn("stops")).toBe(0);
  });

  test("is left out with on_bad_record: skip, and the others train as without it", async () => {
    const { code, stderr } = await train("skips", "plain", { on_bad_record: "skip" }, mixed());
    expect(code).toBe(0);
    expect(stderr).toContain(reason);
    const reference = readFileSync(path.join(fixtures, "plain.train.jsonl"), "utf8").trim().split("\n"); // PyTorch's
    const steps = runsIn(folder).linesOf<{ loss: number }>("skips");
    expect(steps).toHaveLength(reference.length);
    for (const [index, line] of reference.entries()) {
      expect(steps[index]?.loss).toBeCloseTo(JSON.parse(line).loss, 4);
    }
  });
});
