/**
 * @file How a checkpoint wants its pictures: preprocessor_config.json, or processor_config.json as transformers 5 writes it
 * (`size.shortest_edge` and `size.longest_edge` there are numbers of pixels, in spite of their names).
 */

import { existsSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { VlRewardError } from "../../errors.ts";
import { readJson } from "../../files/json.ts";

const triple = z.tuple([z.number(), z.number(), z.number()]);
const pixels = z.int().positive();

const schema = z.object({
  min_pixels: pixels.nullish(),
  max_pixels: pixels.nullish(),
  size: z.object({ shortest_edge: pixels.nullish(), longest_edge: pixels.nullish() }).nullish(),
  patch_size: z.int().positive().default(14),
  merge_size: z.int().positive().default(2),
  temporal_patch_size: z.int().positive().default(2),
  image_mean: triple.default([0.48145466, 0.4578275, 0.40821073]),
  image_std: triple.default([0.26862954, 0.26130258, 0.27577711]),
  rescale_factor: z
    .number()
    .positive()
    .default(1 / 255),
});

export interface PreprocessorConfig {
  readonly minPixels: number;
  readonly maxPixels: number;
  /** Pixels along a side of one visual token. */
  readonly factor: number;
  readonly patchSize: number;
  readonly mergeSize: number;
  readonly temporalPatchSize: number;
  readonly imageMean: readonly [number, number, number];
  readonly imageStd: readonly [number, number, number];
  readonly rescaleFactor: number;
}

/** Throws `config_invalid` where neither file is there or a field is wrong. Defaults are Qwen2VLImageProcessor's. */
export function loadPreprocessorConfig(folder: string): PreprocessorConfig {
  const file = ["preprocessor_config.json", "processor_config.json"]
    .map((name) => path.join(folder, name))
    .find((candidate) => existsSync(candidate));
  if (!file) {
    throw new VlRewardError(
      "config_invalid",
      `${folder} has neither preprocessor_config.json nor processor_config.json: how large pictures may be is not known.`,
    );
  }
  const result = schema.safeParse(imageProcessorOf(readJson(file), file));
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new VlRewardError("config_invalid", `${file}: ${issue?.path.join(".") || "the file"}: ${issue?.message}.`);
  }
  const config = result.data;
  return {
    minPixels: config.min_pixels ?? config.size?.shortest_edge ?? 56 * 56,
    maxPixels: config.max_pixels ?? config.size?.longest_edge ?? 28 * 28 * 1280,
    factor: config.patch_size * config.merge_size,
    patchSize: config.patch_size,
    mergeSize: config.merge_size,
    temporalPatchSize: config.temporal_patch_size,
    imageMean: config.image_mean,
    imageStd: config.image_std,
    rescaleFactor: config.rescale_factor,
  };
}

/** processor_config.json holds the image processor's fields under a key of their own. */
function imageProcessorOf(json: unknown, file: string): unknown {
  if (typeof json === "object" && json !== null && "image_processor" in json) return json.image_processor;
  if (path.basename(file) === "preprocessor_config.json") return json;
  throw new VlRewardError("config_invalid", `${file}: expected an image_processor with the pictures' sizes.`);
}
