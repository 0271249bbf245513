/** @file A long video, seen in steps: what the tower makes of it as a whole, with a break after each slice. */

import path from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import type { Features } from "../../models/features.ts";
import type { Visual } from "../../models/prompt.ts";
import { RewardModel } from "../../models/reward-model.ts";
import { placement, runLayers } from "../../nn/index.ts";
import { liveTensors, noGrad, scope } from "../../torch/index.ts";
import { PictureFeatures } from "./picture-features.ts";

const folder = path.join(import.meta.dirname, "../../../test/fixtures/parity/plain");
const model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
afterAll(() => model.dispose());
const { vision: tower } = model.backbone;
if (!tower) throw new Error("expected a vision tower");

/** 4 x 6 patches in each of so many steps in time. */
const videoOf = (steps: number): Visual => ({
  key: `of ${steps}`,
  pixels: Uint8Array.from({ length: 2 * steps * 24 * 14 ** 2 * 3 }, (_, index) => (index * 7919) % 251),
  levels: Float32Array.from({ length: 3 * 256 }, (_, index) => ((index % 256) - 128) / 60),
  grid: { t: steps, h: 4, w: 6 },
  secondsPerGrid: 1,
  patches: 24 * steps,
  tokens: 6 * steps,
});
const [long, short] = [videoOf(10), videoOf(2)];
const numbers = (features: Features | undefined): Float32Array | undefined => features?.tensors[0]?.toFloat32Array();
const whole = (visual: Visual) => noGrad(() => scope(() => numbers(tower.merge(tower.encode([visual], runLayers)))));

let pictures: PictureFeatures;
beforeEach(() => {
  pictures = new PictureFeatures(tower, "cpu", { upTo: "merger", patchBudget: 72, cacheBytes: 2 ** 20 });
});

test("one of four times what a pass holds takes four slices; all of it is kept under its key", () => {
  const seen = pictures.open();
  const steps = seen.see([short, long]);
  let breaks = 0;
  let next = steps.next();
  for (; !next.done; next = steps.next()) breaks++;
  expect(breaks).toBe(1 + 4); // 24 patches a step, three steps a slice; the short one is a pass of its own
  expect(numbers(next.value.get(long.key))).toEqual(whole(long));
  expect(numbers(next.value.get(short.key))).toEqual(whole(short));
  seen.settle();
  const again = pictures.open();
  const known = again.see([long]).next();
  expect(known.done && numbers(known.value.get(long.key))).toEqual(whole(long));
  expect(pictures.stats).toMatchObject({
    entries: 2,
    bytes: 4 * (whole(long)?.length ?? 0) + 4 * (whole(short)?.length ?? 0),
  });
  again.settle();
  pictures.dispose();
});

test("left between two slices, nothing of them stays", () => {
  const before = liveTensors().handles;
  const seen = pictures.open();
  const steps = seen.see([long]);
  steps.next();
  steps.next();
  expect(liveTensors().handles).toBeGreaterThan(before);
  steps.return(new Map());
  seen.settle();
  expect(liveTensors().handles).toBe(before);
  pictures.dispose();
});
