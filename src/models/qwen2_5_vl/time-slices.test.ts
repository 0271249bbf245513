/** @file A video's features are those of its slices, bit for bit: the tower itself, on the whole video, is the truth. */

import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { below, randomStream } from "../../data/random.ts";
import { placement, runLayers } from "../../nn/index.ts";
import { noGrad, scope } from "../../torch/index.ts";
import type { VisionTower } from "../backbone.ts";
import type { Features } from "../features.ts";
import type { Visual } from "../prompt.ts";
import { RewardModel } from "../reward-model.ts";

const fixtures = path.join(import.meta.dirname, "../../../test/fixtures/parity");
const [patchSize, merge] = [14, 2]; // of both checkpoints, as of the published ones

const random = randomStream("time slices", 1);
const between = (low: number, high: number): number => low + below(high - low + 1, random);

/** Noise, of so many frames; an odd number leaves the last step in time with one. */
function videoOf(frames: number, h: number, w: number): Visual {
  const t = Math.ceil(frames / 2);
  return {
    key: "noise",
    pixels: Uint8Array.from({ length: frames * h * w * patchSize ** 2 * 3 }, () => between(0, 255)),
    levels: Float32Array.from({ length: 3 * 256 }, (_, index) => ((index % 256) - 128) / 60),
    grid: { t, h, w },
    secondsPerGrid: 1,
    patches: t * h * w,
    tokens: (t * h * w) / merge ** 2,
  };
}

describe.each(["plain", "grouped"])("checkpoint %s", (shape) => {
  let model: RewardModel;
  let tower: VisionTower;
  beforeAll(() => {
    model = RewardModel.load(path.join(fixtures, shape), placement("cpu", "float32", "mapped"));
    if (!model.backbone.vision) throw new Error("expected a vision tower");
    tower = model.backbone.vision;
  });
  afterAll(() => model.dispose());

  const bytes = (of: () => Features): Buffer => {
    const [rows = new Float32Array()] = noGrad(() =>
      scope(() => of().tensors.map((tensor) => tensor.toFloat32Array())),
    );
    return Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength);
  };
  const encoded = (visual: Visual): Buffer => bytes(() => tower.encode([visual], runLayers));
  const merged = (visual: Visual): Buffer => bytes(() => tower.merge(tower.encode([visual], runLayers)));

  test.each(Array.from({ length: 12 }, (_, index) => index))("random video %i", () => {
    const video = videoOf(between(3, 20), merge * between(1, 9), merge * between(1, 9));
    const { t, h, w } = video.grid;
    const patches = between(1, video.patches - 1);
    const slices = tower.slices(video, patches);
    expect(slices.length).toBeGreaterThan(1);
    expect(slices.reduce((sum, { grid }) => sum + grid.t, 0)).toBe(t);
    for (const slice of slices) {
      expect(slice.patches <= patches || slice.grid.t === 1, `${slice.patches} of ${patches}`).toBe(true);
      expect(slice.pixels.buffer).toBe(video.pixels.buffer);
      expect(slice.patches).toBe(slice.grid.t * h * w);
      expect(slice.tokens).toBe(slice.patches / merge ** 2);
    }
    for (const features of [encoded, merged]) {
      expect(Buffer.concat(slices.map(features)).equals(features(video))).toBe(true);
    }
  });

  test("a picture, a single step in time and a video that is short enough stay whole", () => {
    const picture = { ...videoOf(1, 4, 4), secondsPerGrid: 0 };
    const [step, video] = [videoOf(2, 4, 4), videoOf(7, 4, 4)];
    expect(tower.slices(picture, 1)).toEqual([picture]);
    expect(tower.slices(step, 1)).toEqual([step]);
    expect(tower.slices(video, video.patches)).toEqual([video]);
  });
});
