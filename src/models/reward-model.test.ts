import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { plainAttention, qwenOf } from "../../test/conversation.ts";
import { rawSafetensors, safetensors, safetensorsHeader } from "../../test/safetensors-file.ts";
import {
  backboneShapes,
  configOf,
  randomWeights,
  type Sizes,
  smallSizes,
  stored,
  type Weight,
  writeWeights,
} from "../../test/small-checkpoint.ts";
import { type Placement, placement } from "../nn/index.ts";
import {
  type Dtype,
  Generator,
  liveTensors,
  narrow,
  noGrad,
  scope,
  setThreadCount,
  tensorFrom,
} from "../torch/index.ts";
import { unrecorded } from "./backbone.ts";
import { Features } from "./features.ts";
import { publishedName } from "./qwen2_5_vl/model.ts";
import { ropeIndex } from "./qwen2_5_vl/rope-index.ts";
import { RewardModel } from "./reward-model.ts";

setThreadCount(1); // so little work is done before a second thread has woken up

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-model-"));
  writeFlatConfig({});
});
afterEach(() => rmSync(folder, { recursive: true }));

const backbone = randomWeights(backboneShapes(smallSizes), 1);
const head: Weight = {
  shape: [1, smallSizes.hidden],
  values: Float32Array.from({ length: smallSizes.hidden }, (_, i) => (i - 7) / 8),
};
const weights = (more: Record<string, Weight> = {}): Map<string, Weight> =>
  new Map([...backbone, ...Object.entries({ "score.weight": head, ...more })]);
const number = (value: number): Weight => ({ shape: [1], values: Float32Array.of(value) });

const { top, textFields, ropeTheta, mropeSection } = configOf(smallSizes);
const writeJson = (name: string, json: unknown): void => writeFileSync(path.join(folder, name), JSON.stringify(json));

/** config.json as transformers 4.51 writes it. */
function writeFlatConfig(change: object): void {
  const rope = { rope_theta: ropeTheta, rope_scaling: { type: "mrope", mrope_section: mropeSection } };
  writeJson("config.json", { ...top, ...textFields, ...rope, ...change });
}

const writeValueHead = (bias: number): void => {
  const entries = {
    "v_head.summary.weight": stored(head, "float32"),
    "v_head.summary.bias": stored(number(bias), "float32"),
  };
  writeFileSync(path.join(folder, "value_head.safetensors"), safetensors(entries, 64));
};

// A picture of 6 x 4 patches between words.
const grid = { t: 1, h: 6, w: 4 };
const ids = Int32Array.of(1, 2, 3, 5, 5, 5, 5, 5, 5, 7, 8, 9, 39);
const sequence = {
  ids,
  positions: ropeIndex(ids.length, [{ start: 3, grid, secondsPerGrid: 0 }], {
    spatialMergeSize: 2,
    tokensPerSecond: 2,
  }),
  visualPlaces: Int32Array.of(3, 4, 5, 6, 7, 8),
};
const patches = Float32Array.from({ length: 24 * 96 }, (_, i) => Math.sin(i * i));

const rewardOf = (model: RewardModel): number =>
  noGrad(() =>
    scope(() => {
      const { backbone, head } = model;
      const features = new Features([qwenOf(model).visual.forward(tensorFrom(patches, [24, 96]), [grid])]);
      const hidden = backbone.forwardAll(sequence, features, plainAttention(sequence.ids.length), unrecorded);
      const [reward = Number.NaN] = head.forward(narrow(hidden, 0, sequence.ids.length - 1, 1)).toFloat32Array();
      return reward;
    }),
  );

const inFloat32 = (): Placement => placement("cpu", "float32", "mapped");

/** Loads the folder and scores; leaves nothing behind. */
function score(place = inFloat32()): number {
  const before = liveTensors();
  const model = RewardModel.load(folder, place);
  const reward = rewardOf(model);
  model.dispose();
  expect(liveTensors()).toEqual(before);
  expect(Number.isFinite(reward)).toBe(true);
  return reward;
}

function expected(): number {
  writeWeights(folder, weights());
  const reward = score();
  rmSync(path.join(folder, "model.safetensors"));
  return reward;
}

const difference = (found: number, reward: number): number => Math.abs(found - reward) / Math.abs(reward);

describe("the same weights in another form have the same score", () => {
  const newNames = (): Map<string, Weight> =>
    new Map(
      [...weights()].map(([name, weight]) => [
        name.replace(/^model\./, "model.language_model.").replace(/^visual\./, "model.visual."),
        weight,
      ]),
    );

  test.each<[how: string, write: () => void]>([
    ["names of transformers 4.52 and later", () => writeWeights(folder, newNames())],
    [
      "with the language model's head",
      () => writeWeights(folder, weights({ "lm_head.weight": { shape: [1, 3], values: Float32Array.of(1, 2, 3) } })),
    ],
  ])("%s, bit for bit", (_, write) => {
    const reward = expected();
    write();
    expect(score()).toBe(reward);
  });

  // Where the bytes lie otherwise, a matrix product may sum in another order.
  test.each<[how: string, write: () => void]>([
    ["shards", () => writeWeights(folder, weights(), { shards: 3 })],
    ["shards with new names", () => writeWeights(folder, newNames(), { shards: 2 })],
    ["bfloat16", () => writeWeights(folder, weights(), { dtype: "bfloat16" })],
    ["float16", () => writeWeights(folder, weights(), { dtype: "float16" })],
    [
      "value_head.safetensors with a bias of 0",
      () => {
        writeWeights(folder, backbone, { dtype: "bfloat16" });
        writeValueHead(0);
      },
    ],
  ])("%s", (_, write) => {
    const reward = expected();
    write();
    expect(difference(score(), reward)).toBeLessThan(1e-6);
  });

  test("the bias of the value head is added", () => {
    const reward = expected();
    writeWeights(folder, backbone);
    writeValueHead(0.375);
    expect(difference(score(), reward + 0.375)).toBeLessThan(1e-6);
  });

  test("config.json of transformers 5", () => {
    const reward = expected();
    writeWeights(folder, weights());
    const rope_parameters = { rope_type: "default", rope_theta: ropeTheta, mrope_section: mropeSection };
    writeJson("config.json", {
      ...top,
      dtype: "bfloat16",
      text_config: { ...textFields, model_type: "qwen2_5_vl_text", dtype: "bfloat16", rope_parameters },
    });
    expect(score()).toBe(reward);
  });

  test.each<Dtype>(["float32", "bfloat16", "float16"])("owned, from %s", (dtype) => {
    const reward = expected();
    writeWeights(folder, weights(), { dtype });
    expect(difference(score(placement("cpu", "float32", "owned")), reward)).toBeLessThan(1e-6);
  });

  test("computed in bfloat16, mapped or owned", () => {
    const reward = expected();
    writeWeights(folder, weights(), { dtype: "bfloat16" });
    const mapped = score(placement("cpu", "bfloat16", "mapped"));
    expect(difference(score(placement("cpu", "bfloat16", "owned")), mapped)).toBeLessThan(0.02);
    expect(difference(mapped, reward)).toBeLessThan(0.1);
  });
});

test("the score answers to every weight", () => {
  // All that could be left out or read twice by mistake: each tensor is changed once.
  const reward = expected();
  const unmoved = [...weights().keys()].filter((name) => {
    const changed = weights();
    const weight = changed.get(name) ?? number(0);
    // Rows from one place to the next, as keys' biases and equal changes would cancel in a softmax.
    const values = weight.values.map((value, i) => value + (i % 3) / 2);
    changed.set(name, { shape: weight.shape, values });
    writeWeights(folder, changed);
    return score() === reward;
  });
  expect(unmoved).toEqual([]);
});

test("a tensor's new name becomes its published one; a published name stays", () => {
  for (const name of ["model.layers.0.mlp.up_proj.weight", "visual.merger.ln_q.weight", "model.norm.weight"]) {
    expect(publishedName(name)).toBe(name);
  }
  expect(publishedName("model.language_model.layers.0.mlp.up_proj.weight")).toBe("model.layers.0.mlp.up_proj.weight");
  expect(publishedName("model.visual.merger.ln_q.weight")).toBe("visual.merger.ln_q.weight");
});

describe("refused, and nothing stays behind", () => {
  test.each<[what: string, write: () => void, code: string, found: RegExp]>([
    [
      "quantised weights",
      () => writeFlatConfig({ quantization_config: { quant_method: "gptq" } }),
      "checkpoint_unsupported",
      /quantization_config/,
    ],
    [
      "a sliding window",
      () => writeFlatConfig({ use_sliding_window: true }),
      "checkpoint_unsupported",
      /use_sliding_window/,
    ],
    [
      "an adapter",
      () => {
        rmSync(path.join(folder, "model.safetensors"));
        writeJson("adapter_config.json", {});
      },
      "checkpoint_unsupported",
      /adapter/,
    ],
    ["no config.json", () => rmSync(path.join(folder, "config.json")), "config_invalid", /config\.json/],
    ["no head", () => writeWeights(folder, backbone), "checkpoint_unsupported", /no reward head/],
    [
      "several labels",
      () => writeWeights(folder, weights({ "score.weight": { shape: [3, 16], values: new Float32Array(48) } })),
      "checkpoint_unsupported",
      /head with 3 labels/,
    ],
    ["two heads", () => writeValueHead(0), "checkpoint_unsupported", /score\.weight .*v_head\.summary\.weight/],
    [
      "a tensor under both its names",
      () => writeWeights(folder, weights({ "model.language_model.norm.weight": number(1) })),
      "checkpoint_unsupported",
      /model\.norm\.weight .*model\.language_model\.norm\.weight/,
    ],
    [
      "a head of another width",
      () => writeWeights(folder, weights({ "score.weight": { shape: [1, 8], values: new Float32Array(8) } })),
      "checkpoint_mismatch",
      /misshapen 1: head\.weight is \[1, 8\], expected \[1, 16\]/,
    ],
    [
      "missing, unexpected and misshapen tensors",
      () => {
        const changed = weights({ constructor: number(1), "model.norm.weight": number(1) });
        changed.delete("visual.blocks.1.attn.qkv.bias");
        writeWeights(folder, changed);
      },
      "checkpoint_mismatch",
      /missing 1: visual\.blocks\.1\.attn\.qkv\.bias\. .*unexpected 1: constructor\. .*misshapen 1: model\.norm\.weight is \[1\], expected \[16\]/,
    ],
    [
      "a truncated file",
      () => {
        const file = path.join(folder, "model.safetensors");
        writeFileSync(file, readFileSync(file).subarray(0, -2));
      },
      "checkpoint_damaged",
      /model\.safetensors/,
    ],
  ])("%s", (_, write, code, found) => {
    writeWeights(folder, weights());
    write();
    const before = liveTensors();
    expect(() => RewardModel.load(folder, inFloat32())).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(found) }),
    );
    expect(liveTensors()).toEqual(before);
  });
});

describe("a checkpoint without a head", () => {
  const numbersOf = (model: RewardModel, name: string): Float32Array =>
    new Map(model.namedParameters()).get(name)?.value.toFloat32Array() ?? new Float32Array();
  const headOf = (seed: number): { model: RewardModel; weight: Float32Array } => {
    using generator = new Generator(seed);
    const model = RewardModel.load(folder, inFloat32(), { generator });
    return { model, weight: numbersOf(model, "head.weight") };
  };
  beforeEach(() => writeWeights(folder, backbone));

  test("is refused for scoring", () => {
    expect(() => RewardModel.load(folder, inFloat32())).toThrow(
      expect.objectContaining({ code: "checkpoint_unsupported", message: expect.stringContaining("no reward head") }),
    );
  });

  test("gets the same one from the same seed, without bias, and the backbone is the checkpoint's", () => {
    const before = liveTensors();
    const [first, again, other] = [headOf(1), headOf(1), headOf(2)];
    expect(again.weight).toEqual(first.weight);
    expect(other.weight).not.toEqual(first.weight);
    expect(first.model.headIsNew).toBe(true);
    expect(numbersOf(first.model, "head.bias")).toEqual(Float32Array.of(0));

    const reward = rewardOf(first.model);
    for (const { model } of [first, again, other]) model.dispose();
    const drawn: Weight = { shape: [1, smallSizes.hidden], values: first.weight };
    writeWeights(folder, weights({ "score.weight": drawn }));
    const stored = RewardModel.load(folder, inFloat32());
    expect(stored.headIsNew).toBe(false);
    expect(difference(rewardOf(stored), reward)).toBeLessThan(1e-6);
    stored.dispose();
    expect(liveTensors()).toEqual(before);
  });

  test("its weights have the variance 1 / (hidden + 1)", () => {
    const values = Array.from({ length: 400 }, (_, seed) => {
      const { model, weight } = headOf(seed);
      model.dispose();
      return [...weight];
    }).flat(); // 6400 of them: the mean square is within 5 % of its expectation but for 1 in 200 times
    const meanSquare = values.reduce((sum, value) => sum + value * value, 0) / values.length;
    expect(Math.abs(meanSquare * (smallSizes.hidden + 1) - 1)).toBeLessThan(0.05);
  });

  test("a bias without a weight is no head to be replaced", () => {
    writeWeights(folder, new Map([...backbone, ["v_head.summary.bias", number(1)]]));
    using generator = new Generator(0);
    expect(() => RewardModel.load(folder, inFloat32(), { generator })).toThrow(/no reward head/);
  });

  test("gets a head of two layers where one is asked for, and its checkpoint is loaded by its shapes", () => {
    const before = liveTensors();
    using generator = new Generator(1);
    const model = RewardModel.load(folder, inFloat32(), { generator, width: 24 });
    const names = ["head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"];
    expect([...model.namedParameters()].map(([name]) => name).filter((name) => name.startsWith("head."))).toEqual(
      names,
    );
    const found = new Map(model.namedParameters());
    const stored = names.map((name): [string, Weight] => [
      name.replace("head.", "v_head.summary."),
      { shape: found.get(name)?.shape ?? [], values: numbersOf(model, name) },
    ]);
    expect(stored.map(([, { shape }]) => shape)).toEqual([[24, smallSizes.hidden], [24], [1, 24], [1]]);
    const reward = rewardOf(model);
    model.dispose();
    writeWeights(folder, new Map([...backbone, ...stored]));
    const loaded = RewardModel.load(folder, inFloat32());
    expect(loaded.headIsNew).toBe(false);
    expect(rewardOf(loaded)).toBe(reward);
    loaded.dispose();
    expect(liveTensors()).toEqual(before);

    for (const [missing] of stored) {
      writeWeights(folder, new Map([...backbone, ...stored.filter(([name]) => name !== missing)]));
      expect(() => RewardModel.load(folder, inFloat32()), missing).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^checkpoint_(mismatch|unsupported)$/) }),
      );
    }
    writeWeights(folder, new Map([...backbone, ...stored, ["score.weight", head]]));
    expect(() => RewardModel.load(folder, inFloat32())).toThrow(/unexpected 1: head\.weight/);
  });

  test("a checkpoint with a head gets no new one of two layers", () => {
    writeWeights(folder, weights());
    using generator = new Generator(1);
    expect(() => RewardModel.load(folder, inFloat32(), { generator, width: 24 })).toThrow(
      expect.objectContaining({ code: "config_invalid", message: expect.stringContaining("has a reward head") }),
    );
  });

  test("a checkpoint with a head keeps it", () => {
    writeWeights(folder, weights());
    const { model, weight } = headOf(3);
    expect(model.headIsNew).toBe(false);
    expect(weight).toEqual(head.values);
    model.dispose();
  });
});

test("a device that is not there: nothing stays behind", () => {
  writeWeights(folder, weights(), { shards: 2 });
  const before = liveTensors();
  expect(() => RewardModel.load(folder, placement("cuda:99", "float32", "owned"))).toThrow(/cuda/i);
  expect(liveTensors()).toEqual(before);
});

describe("memory", () => {
  test("float32 from bfloat16 takes the stored weights and one matrix more", () => {
    writeWeights(folder, weights(), { dtype: "bfloat16" });
    const before = liveTensors().bytes;
    const model = RewardModel.load(folder, inFloat32());
    const elements = (shape: readonly number[]): number => shape.reduce((product, length) => product * length, 1);
    const shapes = [...backbone.values()].map(({ shape }) => shape);
    const matrices = shapes.filter((shape) => shape.length > 1).map(elements);
    const vectors = shapes.filter((shape) => shape.length === 1).map(elements);
    const sum = (lengths: number[]): number => lengths.reduce((total, length) => total + length, 0);
    const atRest = 2 * sum(matrices) + 4 * (sum(vectors) + elements(head.shape));
    expect(liveTensors().bytes - before).toBe(atRest);
    for (let i = 0; i < 3; i++) {
      rewardOf(model);
      expect(liveTensors().bytes - before).toBe(atRest + 4 * Math.max(...matrices));
    }
    model.dispose();
    expect(liveTensors().bytes).toBe(before);
  });

  /** Memory of the process that is no file's, in MB. */
  const anonymous = (): number =>
    Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1000;

  test.skipIf(process.platform !== "linux")(
    "a mapped checkpoint of 100 MB takes less than one of its tensors (needs Linux, which tells it)",
    () => {
      writeWeights(folder, weights());
      score(); // what libtorch sets up once
      const sizes: Sizes = { ...smallSizes, vocabulary: 64, hidden: 1024, intermediate: 8192, layers: 2 };
      const shapes = [...backboneShapes(sizes), ["score.weight", [1, sizes.hidden]] as const];
      const bytes = (shape: readonly number[]): number => 2 * shape.reduce((product, length) => product * length, 1);
      const header = safetensorsHeader(shapes.map(([name, shape]) => [name, "BF16", shape, bytes(shape)]));
      const start = rawSafetensors(header.padEnd(Math.ceil(header.length / 8) * 8));
      const total = shapes.reduce((sum, [, shape]) => sum + bytes(shape), 0);
      expect(total).toBeGreaterThan(100e6);
      const file = openSync(path.join(folder, "model.safetensors"), "w");
      writeSync(file, start);
      ftruncateSync(file, start.length + total); // a hole, which reads as zeros
      closeSync(file);
      const config = configOf(sizes);
      writeFlatConfig({
        ...config.top,
        ...config.textFields,
        rope_scaling: { type: "mrope", mrope_section: config.mropeSection },
      });

      const before = anonymous();
      const model = RewardModel.load(folder, inFloat32());
      const oneTensor = (sizes.hidden * sizes.intermediate * 2) / 1e6; // as it is stored
      expect(anonymous() - before).toBeLessThan(oneTensor);
      expect(rewardOf(model)).toBe(0);
      expect(anonymous() - before).toBeLessThan(2 * oneTensor + 16); // one in float32, and what a pass itself leaves
      model.dispose();
    },
  );
});
