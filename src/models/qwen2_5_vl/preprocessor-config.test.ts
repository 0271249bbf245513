import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import defaults from "../../../test/fixtures/model/defaults.json" with { type: "json" };
import { loadPreprocessorConfig } from "./preprocessor-config.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-preprocessor-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (name: string, json: unknown): void => writeFileSync(path.join(folder, name), JSON.stringify(json));

const read = defaults.preprocessor;
const reference = {
  factor: 28,
  minPixels: read.min_pixels,
  maxPixels: read.max_pixels,
  patchSize: read.patch_size,
  mergeSize: read.merge_size,
  temporalPatchSize: read.temporal_patch_size,
  imageMean: read.image_mean,
  imageStd: read.image_std,
  rescaleFactor: read.rescale_factor,
};

const other = {
  patch_size: 16,
  merge_size: 3,
  temporal_patch_size: 4,
  image_mean: [0.5, 0.4, 0.3],
  image_std: [1, 2, 3],
};
const otherRead = {
  factor: 48,
  patchSize: 16,
  mergeSize: 3,
  temporalPatchSize: 4,
  imageMean: [0.5, 0.4, 0.3],
  imageStd: [1, 2, 3],
  rescaleFactor: 0.5,
  minPixels: 784,
  maxPixels: 7840,
};

test("defaults are those of Qwen2VLImageProcessor", () => {
  write("preprocessor_config.json", { image_processor_type: "Qwen2VLImageProcessor" });
  expect(loadPreprocessorConfig(folder)).toEqual(reference);
});

describe("the ways in which transformers has written the same", () => {
  const fields = { ...other, rescale_factor: 0.5 };
  const size = { shortest_edge: 784, longest_edge: 7840 };
  test.each<[how: string, file: string, json: unknown]>([
    ["min_pixels and max_pixels", "preprocessor_config.json", { ...fields, min_pixels: 784, max_pixels: 7840 }],
    ["size", "preprocessor_config.json", { ...fields, size }],
    [
      "both, where min_pixels and max_pixels win",
      "preprocessor_config.json",
      {
        ...fields,
        min_pixels: 784,
        max_pixels: 7840,
        size: { shortest_edge: 1, longest_edge: 2 },
      },
    ],
    ["size beside nulls", "preprocessor_config.json", { ...fields, size, min_pixels: null, max_pixels: null }],
    [
      "transformers 5, under image_processor",
      "processor_config.json",
      {
        processor_class: "Qwen2_5_VLProcessor",
        image_processor: { ...fields, size, image_processor_type: "Qwen2VLImageProcessorFast" },
        video_processor: { ...fields, size: { shortest_edge: 9, longest_edge: 99 }, patch_size: 9 },
      },
    ],
  ])("%s", (_, file, json) => {
    write(file, json);
    expect(loadPreprocessorConfig(folder)).toEqual(otherRead);
  });

  test("preprocessor_config.json wins over processor_config.json, which may hold little", () => {
    write("processor_config.json", { processor_class: "Qwen2_5_VLProcessor", patch_size: 16 });
    write("preprocessor_config.json", {});
    expect(loadPreprocessorConfig(folder)).toEqual(reference);
  });
});

describe("refused", () => {
  const failure = (found: string): unknown =>
    expect.objectContaining({ code: "config_invalid", message: expect.stringContaining(found) });

  test("a folder without either file", () => {
    expect(() => loadPreprocessorConfig(folder)).toThrow(
      failure("neither preprocessor_config.json nor processor_config.json"),
    );
  });

  test.each<[found: string, json: unknown]>([
    ["preprocessor_config.json: patch_size", { patch_size: 0 }],
    ["preprocessor_config.json: min_pixels", { min_pixels: "3136" }],
    ["preprocessor_config.json: size.longest_edge", { size: { shortest_edge: 1, longest_edge: -1 } }],
    ["preprocessor_config.json: image_mean", { image_mean: [0.5] }],
    ["preprocessor_config.json: the file", []],
  ])("%s", (found, json) => {
    write("preprocessor_config.json", json);
    expect(() => loadPreprocessorConfig(folder)).toThrow(failure(found));
  });
});

const publishedFolder = fileURLToPath(new URL("../../../../shared/qwen2.5-vl-7b-instruct", import.meta.url));
test.skipIf(!existsSync(publishedFolder))("the published file (needs ../shared)", () => {
  expect(loadPreprocessorConfig(publishedFolder)).toEqual({ ...reference, maxPixels: 12_845_056 });
});
