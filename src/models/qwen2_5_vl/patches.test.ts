import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import defaults from "../../../test/fixtures/model/defaults.json" with { type: "json" };
import golden from "../../../test/fixtures/model/patches.json" with { type: "json" };
import type { RgbImage } from "../../media/image.ts";
import { noGrad, scope } from "../../torch/index.ts";
import type { VisionConfig } from "./config.ts";
import { framesOf, patchify } from "./patches.ts";
import type { PreprocessorConfig } from "./preprocessor-config.ts";

const { image_mean: mean, image_std: std, rescale_factor: rescaleFactor } = defaults.preprocessor;
const triple = ([a = 0, b = 0, c = 0]: number[]): [number, number, number] => [a, b, c];
const config: PreprocessorConfig = {
  factor: 28,
  minPixels: 3136,
  maxPixels: 1_003_520,
  patchSize: 14,
  mergeSize: 2,
  temporalPatchSize: 2,
  imageMean: triple(mean),
  imageStd: triple(std),
  rescaleFactor,
};

/** The part of the model's configuration that says how its pictures are cut. */
const cutAs = ({ patchSize, mergeSize, temporalPatchSize }: PreprocessorConfig): VisionConfig =>
  ({ patchSize, spatialMergeSize: mergeSize, temporalPatchSize }) as VisionConfig;

function patchesOf(
  images: readonly RgbImage[],
  of = config,
): { values: Float32Array; shape: readonly number[]; grid: number[] } {
  const frames = framesOf(images, of);
  const { t, h, w } = frames.grid;
  return noGrad(() =>
    scope(() => {
      const patches = patchify([frames], cutAs(of), "cpu");
      return { values: patches.toFloat32Array(), shape: patches.shape, grid: [t, h, w] };
    }),
  );
}

const image = (rgb: string, height: number, width: number): RgbImage => ({
  height,
  width,
  data: new Uint8Array(Buffer.from(rgb, "base64")),
});

function pixelValues(name: string): Float32Array {
  const bytes = gunzipSync(readFileSync(new URL(`../../../test/fixtures/model/${name}.f32.gz`, import.meta.url)));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (b[i] ?? Number.NaN))), 0);
}

describe("patches are those of Qwen2VLImageProcessor", () => {
  test("a picture fills both frames of its patches", () => {
    const { values, shape, grid } = patchesOf([image(golden.picture.rgb, 56, 84)]);
    const expected = pixelValues("picture");
    expect(grid).toEqual(golden.picture.grid);
    expect(shape).toEqual([24, 1176]);
    expect(values.length).toBe(expected.length);
    expect(largestDifference(values, expected)).toBeLessThan(1e-6);
  });

  test("three frames: the last is repeated", () => {
    const frames = golden.frames.rgb.map((rgb) => image(rgb, 28, 56));
    const { values, shape, grid } = patchesOf(frames);
    const expected = pixelValues("frames");
    expect(grid).toEqual(golden.frames.grid);
    expect(shape).toEqual([16, 1176]);
    expect(values.length).toBe(expected.length);
    expect(largestDifference(values, expected)).toBeLessThan(1e-6);
  });
});

test("several at once lie one below the other", () => {
  const pictures = [image(golden.picture.rgb, 56, 84), image(golden.frames.rgb[0] ?? "", 28, 56)];
  const all = noGrad(() =>
    scope(() =>
      patchify(
        pictures.map((picture) => framesOf([picture], config)),
        cutAs(config),
        "cpu",
      ).toFloat32Array(),
    ),
  );
  expect([...all]).toEqual(pictures.flatMap((picture) => [...patchesOf([picture]).values]));
});

test("other sizes: every value lands where the layout says", () => {
  // patches of 2, units of 3 x 3, 3 frames deep; red counts the pixels of all frames.
  const [height, width] = [6, 12];
  const frames = [0, 1, 2].map((frame) => ({
    height,
    width,
    data: Uint8Array.from({ length: height * width * 3 }, (_, i) => (i % 3 === 0 ? frame * 72 + i / 3 : 0)),
  }));
  const plain = { ...config, imageMean: triple([0, 0, 0]), imageStd: triple([1, 1, 1]), rescaleFactor: 1 };
  const { values, grid } = patchesOf(frames, { ...plain, patchSize: 2, mergeSize: 3, temporalPatchSize: 3 });
  expect(grid).toEqual([1, 3, 6]);
  for (let unit = 0; unit < 2; unit++) {
    for (let patch = 0; patch < 9; patch++) {
      const top = 2 * Math.floor(patch / 3);
      const left = 6 * unit + 2 * (patch % 3);
      const place = (9 * unit + patch) * 36; // 3 channels, 3 frames, 2 x 2 pixels
      const red = [0, 1, 2].flatMap((frame) =>
        [0, 1].flatMap((y) => [0, 1].map((x) => 72 * frame + (top + y) * width + left + x)),
      );
      expect([...values.subarray(place, place + 12)]).toEqual(red);
    }
  }
});
