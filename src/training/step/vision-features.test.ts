/** @file What is kept of a frozen vision tower has the bits of what is computed anew, in memory and on disk. */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { FeatureStore } from "../../engine/pass/feature-store.ts";
import type { Visual } from "../../models/prompt.ts";
import { RewardModel } from "../../models/reward-model.ts";
import { placement, runLayers } from "../../nn/index.ts";
import { liveTensors, scope } from "../../torch/index.ts";
import { type TrainedVision, VisionFeatures } from "./vision-features.ts";

const fixtures = path.join(import.meta.dirname, "../../../test/fixtures/parity");
const folder = path.join(fixtures, "plain");
const store = mkdtempSync(path.join(tmpdir(), "vl-reward-vision-"));
const model = RewardModel.load(folder, placement("cpu", "float32", "owned"));
afterAll(() => {
  model.dispose();
  rmSync(store, { recursive: true });
});

const processor = await model.family.loadProcessor({ limits: {} });
const pictures = await Promise.all(
  ["odd.jpg", "wide.png", "tiny.png"].map(async (image): Promise<Visual> => {
    const content = [{ type: "image", image: path.join("media", image) }] as const;
    const answers = [{ role: "assistant", content: "?" }] as const;
    const { visuals } = await processor.prepare([{ role: "user", content }], answers, { baseFolder: fixtures });
    return visuals[0] as Visual;
  }),
);

function features(cacheBytes: number, trained: TrainedVision, folder?: string): VisionFeatures {
  const context = { weights: "these", dtype: "float32", arithmetic: trained } as const;
  const disk = folder === undefined ? {} : { store: new FeatureStore(folder, context) };
  const { vision } = model.backbone;
  if (!vision) throw new Error("expected a vision tower");
  return new VisionFeatures(vision, "cpu", { trained, patchBudget: 4096, cacheBytes, ...disk });
}

/** Three passes over different pictures, as steps make them -> the features of each. */
function passes(vision: VisionFeatures): number[][] {
  const seen = [pictures, pictures.slice(1), [...pictures].reverse()].map((visuals) => {
    const values = scope(() => vision.of(visuals, runLayers).tensors.flatMap((tensor) => [...tensor.toFloat32Array()]));
    vision.settle();
    return values;
  });
  vision.dispose();
  return seen;
}

test.each(["merger", "nothing"] as const)(
  "the same bits kept, computed each time, or read from disk: %s trained",
  (trained) => {
    const before = liveTensors();
    const anew = passes(features(0, trained));
    expect(passes(features(2 ** 30, trained))).toEqual(anew);
    const place = path.join(store, trained);
    expect(passes(features(2 ** 30, trained, place))).toEqual(anew);
    expect(readdirSync(place).length).toBeGreaterThan(1);
    expect(passes(features(2 ** 30, trained, place))).toEqual(anew);
    expect(liveTensors()).toEqual(before);
  },
);

test("a trained tower is computed each time, and gives the same forward", () => {
  const [trained, frozen] = [passes(features(2 ** 30, "tower")), passes(features(2 ** 30, "nothing"))];
  for (const [pass, values] of frozen.entries()) {
    for (const [i, value] of values.entries()) expect(trained[pass]?.[i]).toBeCloseTo(value, 4);
  }
});
