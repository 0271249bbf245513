/**
 * @file The flags of commands that run a model over a file of records: which model, where and how it computes, how large pictures
 * are and what may be opened.
 */
import { Option } from "@commander-js/extra-typings";
import { memoryBudget } from "../engine/machine/memory.ts";
import { VlRewardError } from "../errors.ts";
import type { EngineOptions } from "../reward/engine.ts";
import { mediaPolicyOf, readCount, readDevices } from "./flags.ts";

const embedded: string = "tiny";
const anyDevice: string = "auto";

export const modelFlag = new Option(
  "--model <model>",
  "folder, hub id (org/name or org/name@revision), or tiny, the embedded model",
).default(embedded);
export const baseFlag = new Option(
  "--base <model>",
  "of an adapter: the model that it belongs to (default: the one that it names)",
);
export const revisionFlag = new Option("--revision <revision>", "branch, tag or commit of a hub model");
export const dtypeFlag = new Option("--dtype <type>", "precision to compute in; auto takes what is faster here")
  .choices(["auto", "float32", "bfloat16"] as const)
  .default("float32" as const);
export const deviceFlag = new Option("--device <device>", "auto, cpu, cuda, cuda:N, or several: cuda:0,cuda:1")
  .argParser(readDevices)
  .default(anyDevice);
export const minPixelsFlag = new Option("--min-pixels <n>", "enlarge pictures with fewer pixels").argParser(readCount);
export const maxPixelsFlag = new Option("--max-pixels <n>", "reduce pictures with more pixels").argParser(readCount);
export const memoryFlag = new Option(
  "--memory <amount>",
  "what the run may hold, such as 16GB (default: most of what is free)",
);
export const featureCacheFlag = new Option(
  "--feature-cache <folder>",
  "keep what was seen in pictures here, for later runs",
);
export const statsFlag = new Option("--stats <file>", "write counts, times and memory here as JSON");

/** What the flags give, with those of flags.ts for media. */
export interface EngineFlags {
  readonly model: string;
  readonly base?: string | undefined;
  readonly revision?: string | undefined;
  readonly dtype: "auto" | "float32" | "bfloat16";
  readonly device: string;
  readonly minPixels?: number | undefined;
  readonly maxPixels?: number | undefined;
  readonly mediaRoot?: string | undefined;
  readonly network: boolean;
  readonly memory?: string | undefined;
  readonly featureCache?: string | undefined;
}

/** A model by its name, and how its engine is to be opened. */
export interface EngineChoice extends Omit<EngineOptions, "folder" | "base"> {
  readonly model: string;
  readonly base: string | undefined;
  readonly revision: string | undefined;
}

/** @throws VlRewardError `usage` for limits that contradict each other, or an amount of memory that is none */
export function engineChoice(flags: EngineFlags): EngineChoice {
  const { model, base, revision, dtype, device, minPixels, maxPixels, featureCache } = flags;
  if (minPixels !== undefined && maxPixels !== undefined && minPixels > maxPixels) {
    throw new VlRewardError("usage", `--min-pixels ${minPixels} is larger than --max-pixels ${maxPixels}.`);
  }
  return {
    model,
    base,
    revision,
    dtype,
    device,
    ...(flags.memory !== undefined && { memory: memoryBudget(flags.memory) }),
    ...(featureCache !== undefined && { featureFolder: featureCache }),
    pixelLimits: { ...(minPixels && { minPixels }), ...(maxPixels && { maxPixels }) },
    media: mediaPolicyOf(flags),
  };
}
