import path from "node:path";
import { expect, test } from "vitest";
import { familyOf } from "../../models/families.ts";
import { Parameter } from "../../nn/index.ts";
import { trainedParameters, trainedVision } from "./trainable.ts";

const names = [
  "visual.patch_embed.proj.weight",
  "visual.blocks.0.attn.qkv.weight",
  "visual.merger.ln_q.weight",
  "visual.merger.mlp.0.weight",
  "model.embed_tokens.weight",
  "model.layers.1.self_attn.q_proj.weight",
  "model.layers.12.mlp.up_proj.weight",
  "model.norm.weight",
  "head.weight",
  "head.bias",
];
const backbone = familyOf(path.join(import.meta.dirname, "../../../test/fixtures/parity/plain")).createBackbone();
const chosen = (train: readonly string[], lora = false, more: readonly string[] = []): string[] => [
  ...trainedParameters(
    [...names, ...more].map((name) => [name, new Parameter([1])] as const),
    backbone,
    train,
    lora,
  ).keys(),
];

test("parts: the vision tower ends before its merger, the decoder has embedding and norm", () => {
  expect(chosen(["vision"])).toEqual(names.slice(0, 2));
  expect(chosen(["merger"])).toEqual(names.slice(2, 4));
  expect(chosen(["decoder"])).toEqual(names.slice(4, 8));
  expect(chosen(["head", "merger"])).toEqual([...names.slice(2, 4), ...names.slice(8)]); // in the model's order
});

test("patterns: whole names or their beginning up to a dot, an asterisk for anything, dots as they are", () => {
  expect(chosen(["model.layers.1"])).toEqual([names[5]]);
  expect(chosen(["model.layers.1*"])).toEqual([names[5], names[6]]);
  expect(chosen(["*.q_proj", "*.bias"])).toEqual([names[5], names[9]]);
  expect(() => chosen(["modelXnorm*"])).toThrow(/fits no weight/);
  expect(() => chosen(["*.q_pro"])).toThrow(/"\*\.q_pro" fits no weight/);
});

test("low-rank updates are trained, in place of the decoder's and the vision tower's own weights", () => {
  const updates = ["model.layers.1.self_attn.q_proj.lora.a", "model.layers.1.self_attn.q_proj.lora.b"];
  expect(chosen(["decoder", "vision", "head"], true, updates)).toEqual(["head.weight", "head.bias", ...updates]);
  expect(chosen(["model.norm"], true, updates)).toEqual(["model.norm.weight", ...updates]);
});

test("what can be kept of the vision tower follows from its lowest trained weight", () => {
  expect(trainedVision(chosen(["decoder", "head"]), backbone)).toBe("nothing");
  expect(trainedVision(chosen(["merger", "decoder"]), backbone)).toBe("merger");
  expect(trainedVision(chosen(["visual.blocks.0", "merger"]), backbone)).toBe("tower");
});
