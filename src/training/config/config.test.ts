import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { readPreference } from "../../data/preference.ts";
import { VlRewardError } from "../../errors.ts";
import { loadTrainConfig, trainConfigText } from "./config.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "vl-reward-config-")));
const file = join(folder, "train.yaml");
afterAll(() => rmSync(folder, { recursive: true }));

const least = "model: tiny\noutput: out\nstages: [{data: [{path: pairs.jsonl}], epochs: 1}]\n";

function load(yaml: string, sets: readonly string[] = []) {
  writeFileSync(file, yaml);
  return loadTrainConfig(file, sets);
}

function failure(yaml: string, sets: readonly string[] = []): VlRewardError {
  try {
    load(yaml, sets);
  } catch (error) {
    if (error instanceof VlRewardError) return error;
    throw error;
  }
  throw new Error("the configuration was accepted");
}

/** The problems as they are told, without the file's name. */
function problems(yaml: string, sets: readonly string[] = []): readonly string[] {
  const { code, message } = failure(yaml, sets);
  expect(code).toBe("config_invalid");
  const [first = "", ...rest] = message.split("\n  ");
  if (rest.length === 0) return [first.replace(`${file}: `, "")];
  expect(first).toBe(`${file} has ${rest.length} problems:`);
  return rest;
}

describe("a configuration", () => {
  it("has the keys and the nesting of the contract", () => {
    const config = load(`
model: org/name@main
output: ../runs/one
seed: 7
dtype: auto
train: [vision, head, "*.norm.weight"]
lora: {rank: 8, alpha: 4, targets: [vision], dropout: 0.5}
head_dropout: 0.1
optimizer: {weight_decay: 0.05, betas: [0.8, 0.95], eps: 1.0e-6, max_grad_norm: 2}
stages:
  - name: first
    data: [{path: a.jsonl, weight: 0.5}, {path: /data/b.jsonl}]
    epochs: 2
    batch_size: 8
    learning_rate: 3e-4
    schedule: linear
    warmup_ratio: 0.1
    shuffle: false
  - {name: second, data: [{path: a.jsonl}], steps: 10}
validation: {path: held-out.jsonl, every_steps: 20}
`);
    expect(config).toMatchObject({
      model: "org/name@main",
      output: join(folder, "../runs/one"),
      seed: 7,
      dtype: "auto",
      train: ["vision", "head", "*.norm.weight"],
      lora: { rank: 8, alpha: 4, targets: ["vision"], dropout: 0.5 },
      headDropout: 0.1,
      optimizer: {
        type: "adamw",
        momentum: 0.95,
        weightDecay: 0.05,
        betas: [0.8, 0.95],
        eps: 0.000001,
        maxGradNorm: 2,
      },
      validation: { path: join(folder, "held-out.jsonl"), everySteps: 20 },
    });
    expect(config.stages).toEqual([
      {
        name: "first",
        data: [
          { path: join(folder, "a.jsonl"), weight: 0.5 },
          { path: "/data/b.jsonl", weight: 1 },
        ],
        epochs: 2,
        batchSize: 8,
        learningRate: 0.0003,
        schedule: "linear",
        warmupRatio: 0.1,
        shuffle: false,
        objective: { pairwise: 1, language: 0 },
        optimizerState: "reset",
      },
      expect.objectContaining({ name: "second", steps: 10 }),
    ]);
    expect(config.stages[1]).not.toHaveProperty("epochs");
  });

  it("takes what the contract shows where the file says nothing", () => {
    const config = load(least);
    expect(config).toMatchObject({
      seed: 0,
      train: ["merger", "decoder", "head"],
      headDropout: 0,
      optimizer: { type: "adamw", momentum: 0.95, weightDecay: 0, betas: [0.9, 0.999], eps: 1e-8, maxGradNorm: 1 },
      stages: [
        {
          batchSize: 64,
          learningRate: 0.00001,
          schedule: "cosine",
          warmupRatio: 0.03,
          shuffle: true,
          data: [{ weight: 1 }],
        },
      ],
    });
    for (const absent of ["lora", "validation", "minPixels", "saveDtype"]) expect(config).not.toHaveProperty(absent);
  });

  it("is written as a file that loads from elsewhere as the same configuration", () => {
    const config = load(least, ["lora={}", "feature_cache=features", "min_pixels=3136", "validation={split: 0.25}"]);
    const other = join(folder, "elsewhere");
    mkdirSync(other);
    writeFileSync(join(other, "config.yaml"), trainConfigText(config));
    expect(loadTrainConfig(join(other, "config.yaml"))).toEqual(config);
  });

  it("says which file cannot be read", () => {
    expect(() => loadTrainConfig(join(folder, "none.yaml"))).toThrow(
      expect.objectContaining({ code: "input_unreadable", message: expect.stringContaining("none.yaml") }),
    );
  });
});

describe("what is wrong in a file", () => {
  it("is told all at once, with lines, in their order", () => {
    const yaml = `modle: tiny
output: 3
train: [mergr, "*.bias"]
optimizer:
  wieght_decay: 1
  eps: .nan
stages:
  - data: []
    epochs: 2
    steps: 3
    batch_size: -4
  - {data: [{path: a, wight: 1}]}
weight_decay: 0.1
validation: {}
`;
    expect(problems(yaml)).toEqual([
      "model: expected a folder, a hub id or tiny, found nothing",
      'line 1: unknown key "modle"; did you mean "model"?',
      "line 2: output: expected a folder, found the number 3",
      'line 3: train.0: "mergr" is none of the parts vision, merger, decoder, head, and a name pattern has a dot or an asterisk',
      'line 5: optimizer: unknown key "wieght_decay"; did you mean "weight_decay"?',
      "line 6: optimizer.eps: expected a positive number, found the number NaN",
      "line 8: stages.0.data: expected a list of files and generators, at least one, found an empty list",
      "line 10: stages.0.steps: expected either epochs or steps, found both",
      "line 11: stages.0.batch_size: expected a positive whole number, found the number -4",
      'line 12: stages.1.data.0: unknown key "wight"; did you mean "weight"?',
      "line 12: stages.1: expected either epochs or steps, found neither",
      'line 12: stages.1.name: an earlier stage is called "training" too; give each its own name',
      'line 13: unknown key "weight_decay"; did you mean "optimizer.weight_decay"?',
      "line 14: validation: expected either path, split or generator, found neither",
    ]);
  });

  it.each([
    ["seed: 1.5", "line 4: seed: expected a whole number from 0, found the number 1.5"],
    ["seed:", "line 4: seed: expected a whole number from 0, found null"],
    ["dtype: float16", 'line 4: dtype: expected float32, bfloat16 or auto, found the string "float16"'],
    ["head_dropout: 1", "line 4: head_dropout: expected a number from 0 to below 1, found the number 1"],
    ["tensorboard: yes", 'line 4: tensorboard: expected true or false, found the string "yes"'],
    [
      "activation_checkpointing: 1",
      "line 4: activation_checkpointing: expected auto, true or false, found the number 1",
    ],
    ["optimizer: {betas: [0.9]}", "line 4: optimizer.betas: expected two numbers from 0 to below 1, found a list"],
    ["optimizer: 3", "line 4: optimizer: expected an object with the optimizer's keys, found the number 3"],
    ["min_pixels: 9\nmax_pixels: 8", "line 4: min_pixels: 9 is larger than max_pixels, 8"],
    ["seed: 1\nseed: 2", "line 5: this key stands twice in one object; keep one of them"],
    ["optimizer:\n\teps: 1", "line 5: Tabs are not allowed as indentation"],
    ["[a]: 1", "line 4: a key is a list or an object; expected a word"],
    ["seed: !large 1", "line 4: Unresolved tag: !large"],
    ["---\nseed: 1", "line 4: a second document begins (---); expected one"],
    ["seed: *other", "Unresolved alias (the anchor must be set before the alias): other"],
  ])("%j", (addition, expected) => {
    expect(problems(`${least}${addition}\n`)).toEqual([expected]);
  });

  it("has stages", () => {
    expect(problems("model: tiny\noutput: out\nstages: []\n")).toEqual([
      "line 3: stages: expected a list of stages, at least one, found an empty list",
    ]);
    expect(problems("")).toHaveLength(3);
    expect(problems("- model\n")).toEqual([
      "expected an object with the keys of a training configuration, found a list",
    ]);
  });

  it("is found behind an alias, at the anchor", () => {
    const yaml = "model: tiny\noutput: out\nstages:\n  - data: &all\n      - {path: a, weight: 0}\n    epochs: 1\n";
    expect(problems(`${yaml}  - {name: b, data: *all, epochs: 1}\n`)).toEqual([
      "line 5: stages.0.data.0.weight: expected a positive number, found the number 0",
      "line 5: stages.1.data.0.weight: expected a positive number, found the number 0",
    ]);
  });
});

describe("--set", () => {
  it("sets, adds and takes away, with YAML values", () => {
    const config = load(`${least}validation: {path: a.jsonl}\n`, [
      "stages.0.epochs=null",
      "stages.0.steps=5",
      "stages.0.data.0.path=other.jsonl",
      "optimizer.betas=[0.5, 0.6]",
      "lora.rank=3",
      "validation=",
      "output=a=b",
      "seed=1",
      "seed=2",
    ]);
    expect(config.stages).toEqual([
      expect.objectContaining({ steps: 5, data: [{ path: join(folder, "other.jsonl"), weight: 1 }] }),
    ]);
    expect(config.stages[0]).not.toHaveProperty("epochs");
    expect(config).toMatchObject({
      optimizer: { betas: [0.5, 0.6] },
      lora: { rank: 3 },
      output: join(folder, "a=b"),
      seed: 2,
    });
    expect(config).not.toHaveProperty("validation");
  });

  it("changes one of two stages that share an anchor", () => {
    const yaml = "model: tiny\noutput: o\nstages:\n- {name: a, epochs: 1, data: &d [{path: x}]}\n";
    const config = load(`${yaml}- {name: b, epochs: 1, data: *d}\n`, ["stages.1.data.0.weight=3"]);
    expect(config.stages.map(({ data }) => data[0]?.weight)).toEqual([1, 3]);
  });

  it.each([
    ["sede=1", '--set sede=1: unknown key "sede"; did you mean "seed"?'],
    ["epochs=1", '--set epochs=1: unknown key "epochs"; did you mean "stages.N.epochs"?'],
    ["stages.1.epochs=1", '--set stages.1.epochs=1: stages: no place "1"; the list has the places 0 to 0'],
    ["stages.epochs=1", '--set stages.epochs=1: stages: no place "epochs"; the list has the places 0 to 0'],
    ["seed.x=1", '--set seed.x=1: seed: has no keys, and so no "x"'],
    ["seed=-1", "--set seed=-1: seed: expected a whole number from 0, found the number -1"],
    ["lora={rnak: 1}", '--set lora={rnak: 1}: lora: unknown key "rnak"; did you mean "rank"?'],
    ["stages.0.steps=5", "--set stages.0.steps=5: stages.0.steps: expected either epochs or steps, found both"],
    ["__proto__.x=1", expect.stringContaining('--set __proto__.x=1: unknown key "__proto__"')],
  ])("%s is a problem of the flag", (set, expected) => {
    expect(problems(least, [set])).toEqual([expected]);
  });

  it.each(["seed", "=1", "stages..name=a", "seed=[1", ".=1"])("%s is no setting", (set) => {
    expect(failure(least, [set])).toMatchObject({ code: "usage", message: expect.stringContaining(`--set ${set}`) });
  });
});

describe("generators, new weights and losses", () => {
  const made = (data: string, more = "steps: 1"): string =>
    `model: tiny\noutput: o\nstages: [{data: [${data}], ${more}}]\n`;
  const all = "train: [vision, merger, decoder, head]\n";

  it("stand in place of a file, with their defaults where options are given", () => {
    const { stages, validation } = load(
      `${made("{generator: synthetic, options: {levels: [0, 1]}, weight: 2}, {path: x}")}validation: {generator: synthetic, count: 5}\n`,
    );
    expect(stages[0]?.data).toEqual([
      { generator: "synthetic", weight: 2, options: expect.objectContaining({ levels: [0, 1], split: "train" }) },
      { path: join(folder, "x"), weight: 1 },
    ]);
    expect(stages[0]).toMatchObject({ optimizerState: "reset", objective: { pairwise: 1, language: 0 } });
    expect(validation).toEqual({ generator: "synthetic", count: 5, everySteps: 200 });
    expect(load(`${made("{path: x}")}init: {}\n${all}`).init).toEqual({
      std: 0.02,
      patchEmbedScale: 1,
      visionOutputScale: 1,
    });
  });

  it.each([
    [made("{weight: 2}"), "line 3: stages.0.data.0: expected either path or generator, found neither"],
    [
      made("{path: x, generator: synthetic}"),
      "line 3: stages.0.data.0.generator: expected either path or generator, found both",
    ],
    [made("{path: x, count: 3}"), "line 3: stages.0.data.0.count: this key belongs to a generator; there is none here"],
    [
      made("{generator: synthetic, options: {levels: [4]}}"),
      "line 3: stages.0.data.0.options.levels.0: expected a level from 0 to 3, found the number 4",
    ],
    [
      made("{generator: synthetic, options: {level: 1}}"),
      'line 3: stages.0.data.0.options: unknown key "level"; did you mean "levels"?',
    ],
    [
      made("{generator: synthetic}", "epochs: 1"),
      "line 3: stages.0.epochs: a generator without count has no epochs; give steps",
    ],
    [
      `${made("{generator: synthetic}")}validation: {generator: synthetic}\n`,
      "line 4: validation.count: expected the number of documents beside generator, found nothing",
    ],
    [
      `${made("{generator: synthetic}")}validation: {split: 0.1}\n`,
      "line 4: validation.split: there is no file of which a part could be held out; give validation a generator",
    ],
    [
      `${made("{path: x}")}init: {}\n`,
      "train: init draws all weights, and vision would stay as drawn; expected [vision, merger, decoder, head]",
    ],
    [
      `${made("{path: x}")}init: {}\n${all}lora: {}\n`,
      "line 6: lora: adapters on weights that were just drawn teach nothing; leave out lora or init",
    ],
    [
      made("{path: x}", "steps: 1, objective: {pairwise: 0}"),
      "line 3: stages.0.objective: expected one of the weights to be more than 0",
    ],
  ])("%s is refused", (yaml, expected) => {
    expect(problems(yaml)).toEqual([expected]);
  });
});

describe("the model", () => {
  it("is a folder relative to the file where there is one", () => {
    mkdirSync(join(folder, "my/model"), { recursive: true });
    expect(load(least, ["model=my/model"]).model).toBe(join(folder, "my/model"));
    expect(load(least, ["model=./my/model"]).model).toBe(join(folder, "my/model"));
    expect(load(least, [`model=${folder}`]).model).toBe(folder);
  });

  it("is else a hub id, or tiny", () => {
    expect(load(least, ["model=org/na.me-1@v2"]).model).toBe("org/na.me-1@v2");
    expect(load(least).model).toBe("tiny");
  });

  it.each(["./none", "/no/such/folder", "a/b/c", "none"])("%s is neither", (model) => {
    expect(failure(least, [`model=${model}`])).toMatchObject({
      code: "model_not_found",
      message: expect.stringContaining("there is no folder"),
    });
  });

  it("is not taken from the working directory", () => {
    // Tests run in the root of the repository.
    expect(failure(least, ["model=models/tiny"])).toMatchObject({
      code: "model_not_found",
      message: expect.stringContaining(join(folder, "models/tiny")),
    });
  });
});

const recipes = fileURLToPath(new URL("../../../recipes/", import.meta.url));

describe.each(readdirSync(recipes))("recipes/%s", (name) => {
  it("loads", () => {
    expect(loadTrainConfig(join(recipes, name)).stages.length).toBeGreaterThan(0);
  });
});

it("recipes/first-steps.yaml trains on records that can be read", () => {
  const { stages } = loadTrainConfig(join(recipes, "first-steps.yaml"));
  const paths = stages.flatMap(({ data }) => data.flatMap(({ path = "" }) => path));
  const lines = paths.flatMap((path) => readFileSync(path, "utf8").trim().split("\n"));
  expect(lines.map(readPreference).filter((read) => "error" in read)).toEqual([]);
  expect(lines.length).toBeGreaterThan(10);
});

it("recipes/skywork-vl-reward-7b.yaml is the published recipe", () => {
  const config = loadTrainConfig(join(recipes, "skywork-vl-reward-7b.yaml"));
  expect(config.train).toEqual(["merger", "decoder", "head"]);
  expect(config.stages.map(({ learningRate, epochs }) => [learningRate, epochs])).toEqual([
    [1e-5, 2],
    [1e-6, 2],
  ]);
});

describe("what is no configuration at all is refused in words, and short ones", () => {
  it.each<[what: string, path: string, message: string]>([
    ["a device that never ends", "/dev/zero", "it is a device, expected a file"],
    ["a folder", folder, "it is a folder, expected a file"],
  ])("%s", (_, path, message) => {
    const refused = { code: "input_unreadable", message: expect.stringContaining(message) };
    expect(() => loadTrainConfig(path)).toThrow(expect.objectContaining(refused));
  });

  it("a file of megabytes", () => {
    const { code, message } = failure(`${least}# ${"x".repeat(2_000_000)}\n`);
    expect({ code, message }).toMatchObject({ code: "input_unreadable", message: expect.stringContaining("2.0 MB") });
  });

  it("lists in lists", () => {
    const deep = `stages: ${"[".repeat(50_000)}${"]".repeat(50_000)}\n`;
    expect(problems(deep)[0]).toContain("line 1: lists and objects lie too deep in each other");
  });

  it("aliases that stand for billions of values", () => {
    const bomb = ["a: &a0 [x, x, x, x, x, x, x, x, x]"];
    for (let level = 1; level < 12; level++) {
      bomb.push(`k${level}: &a${level} [${new Array(9).fill(`*a${level - 1}`).join(", ")}]`);
    }
    expect(problems(`${bomb.join("\n")}\n`)).toEqual([expect.stringContaining("Excessive alias count")]);
  });

  it("thousands of problems: the first of them are told, and how many there are", () => {
    const { message } = failure(`${least}${Array.from({ length: 5000 }, (_, index) => `k${index}: 1\n`).join("")}`);
    expect(message).toMatch(/has 5000 problems:\n {2}line 4: unknown key "k0".*\n {2}and 4980 more$/s);
    expect(message.length).toBeLessThan(4200);
  });

  it("a value of 100,000 characters", () => {
    const { message } = failure(least.replace("tiny", "x".repeat(100_000)));
    expect(message.length).toBeLessThan(4200);
  });
});
