/**
 * @file Parity with the reference, the first law: what test/fixtures/parity holds was computed by transformers 4.51.3 on
 * checkpoints of two shapes; here the same records go through our processor, our layers and our gradients.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import type { Message } from "../../src/conversation.ts";
import { readRecord } from "../../src/data/record.ts";
import { readJson } from "../../src/files/json.ts";
import { unrecorded } from "../../src/models/backbone.ts";
import type { Processor } from "../../src/models/processor.ts";
import type { Grid } from "../../src/models/prompt.ts";
import { parseConfig, type VisionConfig } from "../../src/models/qwen2_5_vl/config.ts";
import { patchify } from "../../src/models/qwen2_5_vl/patches.ts";
import { planWindows } from "../../src/models/qwen2_5_vl/window-plan.ts";
import { RewardModel } from "../../src/models/reward-model.ts";
import { placement } from "../../src/nn/index.ts";
import {
  accumulatedGradient,
  backward,
  clearGradient,
  indexSelect,
  mapFile,
  noGrad,
  reshape,
  scope,
  sum,
  type Tensor,
  tensorFrom,
} from "../../src/torch/index.ts";
import {
  type Conversation,
  featuresOf,
  plainAttention,
  plainReward,
  qwenOf,
  wholeConversation,
} from "../conversation.ts";

const fixtures = path.join(import.meta.dirname, "../fixtures/parity");

interface Case {
  readonly name: string; // as the fixture's tensors are named: <id>-<answer>
  readonly messages: readonly Message[];
}

const cases: Case[] = readFileSync(path.join(fixtures, "cases.jsonl"), "utf8")
  .trim()
  .split("\n")
  .flatMap((line, number) => {
    const read = readRecord(line, number);
    if ("error" in read) throw read.error;
    const { prompt, answers } = read.record;
    return answers.map((own, answer) => ({ name: `${read.id}-${answer}`, messages: [...prompt, own] }));
  });

/** max|a - b| / max|b| */
function relativeError(actual: Tensor, expected: Tensor): number {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b] = [actual.toFloat32Array(), expected.toFloat32Array()];
  let difference = 0;
  let largest = 0;
  for (const [i, value] of b.entries()) {
    const distance = Math.abs((a[i] ?? Number.NaN) - value);
    if (!(distance <= difference)) difference = distance; // a NaN stays
    largest = Math.max(largest, Math.abs(value));
  }
  return difference / largest;
}

/** A video file passes other versions of FFmpeg and of torch's resize: a few values differ by a level. */
const tolerance = (name: string): number => (name.startsWith("clip") ? 5e-3 : 1e-5);

const integers = (tensor: Tensor): number[] => Array.from(tensor.toTypedArray(), Number);

/** The reference's order of patches inside its vision blocks: windows in raster order, none sorted by size. */
function referenceUnitOrder(grids: readonly Grid[], side: number): number[] {
  const order: number[] = [];
  let first = 0;
  for (const { t, h, w } of grids) {
    const [rows, columns] = [h / 2, w / 2];
    for (let frame = 0; frame < t; frame++, first += rows * columns) {
      const inFrame = Array.from({ length: rows * columns }, (_, unit) => unit);
      const windowOf = (unit: number): number =>
        Math.floor(Math.floor(unit / columns) / side) * columns + Math.floor((unit % columns) / side);
      inFrame.sort((a, b) => windowOf(a) - windowOf(b)); // stable: raster order within a window
      order.push(...inFrame.map((unit) => first + unit));
    }
  }
  return order;
}

describe.each(["plain", "grouped"])("checkpoint %s", (shape) => {
  const expected = new Map<string, Tensor>();
  let model: RewardModel;
  let processor: Processor;
  let config: VisionConfig;
  const prompts = new Map<string, Conversation>();

  beforeAll(async () => {
    const file = path.join(fixtures, `${shape}.expected.safetensors`);
    const header = [...readSafetensorsHeader(file)];
    const tensors = mapFile(
      file,
      header.map(([, place]) => place),
    );
    for (const [index, [name]] of header.entries()) expected.set(name, tensors[index] as Tensor);
    // Owned, so that one loading serves gradients too; the engine's tests load mapped.
    model = RewardModel.load(path.join(fixtures, shape), placement("cpu", "float32", "owned"));
    processor = await model.family.loadProcessor({ limits: {} });
    config = parseConfig(readJson(path.join(fixtures, shape, "config.json")), "config.json").vision;
    for (const { name, messages } of cases) {
      const group = await processor.prepare(messages.slice(0, -1), messages.slice(-1), { baseFolder: fixtures });
      if (group.branches[0]) prompts.set(name, wholeConversation(group, group.branches[0]));
    }
  });

  afterAll(() => {
    model.dispose();
    for (const tensor of expected.values()) tensor.dispose();
  });

  const promptOf = (name: string): Conversation => {
    const prompt = prompts.get(name);
    if (!prompt) throw new Error(`no prompt for ${name}`);
    return prompt;
  };
  const expectedOf = (name: string): Tensor => {
    const tensor = expected.get(name);
    if (!tensor) throw new Error(`the fixture lacks ${name}`);
    return tensor;
  };
  const patchesOf = ({ visuals }: Conversation): Tensor => patchify(visuals, config, "cpu");
  const gridsOf = ({ visuals }: Conversation): Grid[] => visuals.map(({ grid }) => grid);

  test.each(cases.map(({ name }) => name))("%s: ids, grids and positions are the reference's", (name) => {
    const { sequence, visuals } = promptOf(name);
    expect([...sequence.ids]).toEqual(integers(expectedOf(`${name}/input_ids`)));
    expect([...sequence.positions]).toEqual(integers(expectedOf(`${name}/position_ids`)));
    const grids = ["image_grid_thw", "video_grid_thw"].flatMap((key) => {
      const tensor = expected.get(`${name}/${key}`);
      return tensor ? integers(tensor) : [];
    });
    const pictures = visuals.filter(({ secondsPerGrid }) => secondsPerGrid === 0);
    const videos = visuals.filter(({ secondsPerGrid }) => secondsPerGrid > 0);
    expect([...pictures, ...videos].flatMap(({ grid }) => [grid.t, grid.h, grid.w])).toEqual(grids);
  });

  test("pixel values are the reference's to 1e-6", () => {
    const withPixels = [...expected.keys()].filter((name) => name.includes("/pixel_values"));
    for (const name of withPixels) {
      const [id = "", key] = name.split("/");
      const ofVideo = key === "pixel_values_videos";
      const visuals = promptOf(id).visuals.filter(({ secondsPerGrid }) => secondsPerGrid > 0 === ofVideo);
      scope(() => {
        const patches = patchesOf({ ...promptOf(id), visuals });
        const [ours, theirs] = [patches.toFloat32Array(), expectedOf(name).toFloat32Array()];
        expect(ours.length).toBe(theirs.length);
        const difference = theirs.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (ours[i] ?? 9))), 0);
        expect(difference, name).toBeLessThanOrEqual(1e-6);
      });
    }
    if (shape === "plain") expect(withPixels.length).toBeGreaterThanOrEqual(3);
  });

  const withPictures = cases
    .filter(({ messages }) => JSON.stringify(messages).includes("media/"))
    .map(({ name }) => name);

  test.each(withPictures)("%s: every vision block and the merger, to 1e-5", (name) => {
    // The reference runs pictures and videos in two passes, and its dump holds the later one: the videos'.
    const all = promptOf(name);
    const videos = all.visuals.filter(({ secondsPerGrid }) => secondsPerGrid > 0);
    const prompt = videos.length > 0 ? { ...all, visuals: videos } : all;
    const grids = gridsOf(prompt);
    const { visual } = qwenOf(model);
    const side = shape === "plain" ? 4 : 3;
    noGrad(() =>
      scope(() => {
        const pass = visual.prepare(grids, "cpu");
        const { unitPlaces } = planWindows(grids, config);
        const order = referenceUnitOrder(grids, side).map((unit) => unitPlaces[unit] ?? 0);
        const inReferenceOrder = (x: Tensor): Tensor => {
          const units = reshape(x, [order.length, 4, x.size(1)]);
          return reshape(indexSelect(units, 0, tensorFrom(Int32Array.from(order), [order.length])), x.shape);
        };
        let x = visual.embed(patchesOf(prompt), pass);
        for (const [index, block] of visual.blocks.entries()) {
          x = block.forward(x, pass.turn, visual.layout(index, pass));
          const error = relativeError(inReferenceOrder(x), expectedOf(`${name}/vision.${index}`));
          expect(error, `block ${index}`).toBeLessThan(tolerance(name));
        }
        expect(
          relativeError(visual.merge(visual.inPictureOrder(x, pass)), expectedOf(`${name}/vision.merged`)),
        ).toBeLessThan(tolerance(name));
      }),
    );
  });

  test.each(cases.map(({ name }) => name))("%s: every decoder layer to 1e-5, the score to 2e-5", (name) => {
    const prompt = promptOf(name);
    const backbone = qwenOf(model);
    const decoder = backbone.model;
    noGrad(() =>
      scope(() => {
        let x = backbone.embed(prompt.sequence, featuresOf(model, prompt.visuals), unrecorded.lookUp);
        const turn = backbone.rotation(prompt.sequence.positions, x);
        const attention = plainAttention(x.size(0));
        for (const [index, layer] of decoder.layers.entries()) {
          expect(relativeError(x, expectedOf(`${name}/hidden.${index}`)), `before layer ${index}`).toBeLessThan(
            tolerance(name),
          );
          x = layer.forward(x, turn, (q, k, v) => attention.attend(index, q, k, v));
        }
        const last = expectedOf(`${name}/hidden.${decoder.layers.length}`);
        expect(relativeError(decoder.norm.forward(x), last)).toBeLessThan(tolerance(name));
        const [score = Number.NaN] = plainReward(model, prompt).toFloat32Array();
        const [reference = 0] = expectedOf(`${name}/score`).toFloat32Array();
        expect(Math.abs(score - reference)).toBeLessThan(2 * tolerance(name));
      }),
    );
  });

  test("gradients of the score with respect to weights of each kind, to 1e-4", () => {
    const names = [...expected.keys()].filter((name) => name.includes("/grad."));
    const parameters = new Map(model.namedParameters());
    for (const id of new Set(names.map((name) => name.split("/")[0] ?? ""))) {
      for (const parameter of parameters.values()) {
        parameter.stored.setRequiresGrad(true);
        clearGradient(parameter.stored);
      }
      scope(() => {
        const prompt = promptOf(id);
        backward(sum(plainReward(model, prompt)));
        for (const name of names.filter((candidate) => candidate.startsWith(`${id}/`))) {
          const parameter = parameters.get(name.slice(`${id}/grad.`.length));
          if (!parameter) continue; // the head of this shape has no bias
          const gradient = accumulatedGradient(parameter.stored);
          if (!gradient) throw new Error(`no gradient for ${name}`);
          expect(relativeError(gradient, expectedOf(name)), name).toBeLessThan(1e-4);
        }
      });
      for (const parameter of parameters.values()) parameter.stored.setRequiresGrad(false);
    }
    expect(names.length).toBeGreaterThanOrEqual(18);
  });
});
