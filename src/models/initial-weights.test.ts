/** @file Drawn weights against their announced distributions; shapes are those written down in test/small-checkpoint.ts. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { backboneShapes, configOf, type Sizes, smallSizes } from "../../test/small-checkpoint.ts";
import { placement } from "../nn/index.ts";
import { liveTensors, scope } from "../torch/index.ts";
import type { InitialWeights } from "./initial-weights.ts";
import { RewardModel } from "./reward-model.ts";

// Wide enough that deviations are known to a few percent, two layers of each kind.
const sizes: Sizes = { ...smallSizes, vocabulary: 512, hidden: 64, intermediate: 96, visionHidden: 64 };
const { top, textFields, ropeTheta, mropeSection } = configOf(sizes);

let folder: string;
const writeConfig = (change: object): void => {
  const rope = { rope_theta: ropeTheta, rope_scaling: { type: "mrope", mrope_section: mropeSection } };
  writeFileSync(path.join(folder, "config.json"), JSON.stringify({ ...top, ...textFields, ...rope, ...change }));
};
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "initial-"));
  writeConfig({ tie_word_embeddings: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

const place = placement("cpu", "float32", "owned");
const create = (init: Partial<InitialWeights> = {}) =>
  RewardModel.create(folder, place, { seed: 1, std: 0.02, patchEmbedScale: 1, visionOutputScale: 1, ...init });
const valuesOf = (model: RewardModel): Map<string, Float32Array> =>
  scope(() => new Map([...model.namedParameters()].map(([name, { stored }]) => [name, stored.toFloat32Array()])));

test("matrices have the deviations asked for, biases are 0, norms 1", () => {
  const before = liveTensors();
  const model = create({ std: 0.05, patchEmbedScale: 2, visionOutputScale: 0.3, headStd: 0.5 });
  const values = valuesOf(model);
  model.dispose();
  expect(liveTensors()).toEqual(before);
  const expected = new Map([...backboneShapes(sizes), ["head.weight", [1, 64]], ["head.bias", [1]]]);
  expect(new Set(values.keys())).toEqual(new Set(expected.keys()));
  for (const [name, numbers] of values) {
    const shape = expected.get(name) ?? [];
    expect(numbers.length, name).toBe(shape.reduce((product, length) => product * length, 1));
    if (shape.length === 1) {
      const wanted = /norm|ln_q/.test(name) && !name.endsWith("bias") ? 1 : 0;
      expect(new Set(numbers), name).toEqual(new Set([wanted]));
      continue;
    }
    const scale = /patch_embed/.test(name) ? 2 : /visual.*(attn\.proj|down_proj)/.test(name) ? 0.3 : 1;
    const std = name === "head.weight" ? 0.5 : 0.05 * scale;
    const rms = Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0) / numbers.length);
    const tolerance = 4 / Math.sqrt(2 * numbers.length); // four standard errors
    expect(Math.abs(rms / std - 1), name).toBeLessThan(tolerance);
    expect(Math.abs(numbers.reduce((sum, x) => sum + x, 0) / numbers.length), name).toBeLessThan(
      (4 * std) / Math.sqrt(numbers.length),
    );
  }
});

test("a head of two layers is drawn too, each matrix by its inputs unless a deviation is given", () => {
  const rootMeanSquare = (values: Float32Array = new Float32Array()): number =>
    Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
  for (const [headStd, first, last] of [
    [undefined, 1 / Math.sqrt(65), 1 / Math.sqrt(257)],
    [0.5, 0.5, 0.5],
  ] as const) {
    const init = { seed: 1, std: 0.02, patchEmbedScale: 1, visionOutputScale: 1, ...(headStd && { headStd }) };
    const model = RewardModel.create(folder, place, init, 256);
    const values = valuesOf(model);
    model.dispose();
    expect(values.has("head.weight")).toBe(false);
    expect(values.get("head.0.weight")).toHaveLength(256 * 64);
    // Within four standard errors of a deviation.
    expect(Math.abs(rootMeanSquare(values.get("head.0.weight")) / first - 1)).toBeLessThan(4 / Math.sqrt(2 * 256 * 64));
    expect(Math.abs(rootMeanSquare(values.get("head.2.weight")) / last - 1)).toBeLessThan(4 / Math.sqrt(2 * 256));
    expect([...(values.get("head.0.bias") ?? []), ...(values.get("head.2.bias") ?? [])]).toEqual(Array(257).fill(0));
  }
});

test("equal seeds give equal weights, others do not", () => {
  const models = [create(), create(), create({ seed: 2 })];
  const [first, same, other] = models.map(valuesOf);
  for (const model of models) model.dispose();
  expect(same).toEqual(first);
  const name = "model.embed_tokens.weight";
  expect(other?.get(name)).not.toEqual(first?.get(name));
});

test("refuses a folder that has weights, and a language head of its own", () => {
  const refused = (found: string) =>
    expect.objectContaining({ code: "config_invalid", message: expect.stringContaining(found) });
  for (const name of ["value_head.safetensors", "model.safetensors", "model.safetensors.index.json"]) {
    writeFileSync(path.join(folder, name), "");
    expect(() => create()).toThrow(refused(`has weights (${name})`));
    rmSync(path.join(folder, name));
  }
  writeConfig({ tie_word_embeddings: false });
  expect(() => create()).toThrow(refused("tie_word_embeddings is not true"));
  writeConfig({ tie_word_embeddings: undefined, text_config: { ...textFields, tie_word_embeddings: false } });
  expect(() => create()).toThrow(refused("tie_word_embeddings is not true"));
});
