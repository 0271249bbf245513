/** @file The data of a whole run: its files checked, the validation set held out, the order of every stage settled. */

import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { VlRewardError } from "../errors.ts";
import { LengthCounter } from "../models/qwen2_5_vl/length.ts";
import { CheckPool } from "./check-pool.ts";
import type { TrainConfig } from "./config.ts";
import {
  assertTrainable,
  type CheckedFile,
  type CheckProgress,
  checkFile,
  Dataset,
  type FileReport,
  holdOut,
} from "./dataset.ts";
import { StagePlan } from "./order.ts";

export interface RunStage {
  readonly plan: StagePlan;
  /** Steps of all stages before it. */
  readonly firstStep: number;
  /** Its files, as the plan counts them. */
  readonly files: Dataset;
}

export interface RunData {
  readonly stages: readonly RunStage[];
  readonly validation: Dataset | undefined;
  /** Steps of all stages. */
  readonly steps: number;
  readonly reports: readonly FileReport[];
  /** What the run depends on: the hash of each file by its path. */
  readonly hashes: Readonly<Record<string, string>>;
}

export interface RunDataOptions {
  /** The checkpoint whose tokenizer counts. */
  readonly modelFolder: string;
  /** What the model takes at most, in tokens. */
  readonly longest: number;
  readonly signal: AbortSignal;
  readonly onProgress: (done: CheckProgress) => void;
  readonly onReport: (report: FileReport) => void;
}

/** Pixel limits as the configuration sets them: those it leaves out are the defaults. */
export const pixelLimitsOf = ({ minPixels, maxPixels }: TrainConfig): { minPixels?: number; maxPixels?: number } => ({
  ...(minPixels !== undefined && { minPixels }),
  ...(maxPixels !== undefined && { maxPixels }),
});

/** Rejects as checkFile, assertTrainable and StagePlan do: a {@link VlRewardError} that says what is wrong with the data. */
export async function openRunData(config: TrainConfig, options: RunDataOptions): Promise<RunData> {
  const { validation } = config;
  const trained = [...new Set(config.stages.flatMap(({ data }) => data.map((file) => file.path)))];
  const paths = [...new Set([...trained, ...(validation?.path === undefined ? [] : [validation.path])])];
  const { checked, reports } = await checkFiles(paths, config, options);
  assertTrainable(reports, config.onBadRecord);
  const filesAt = (wanted: readonly string[]): CheckedFile[] =>
    wanted.map((path) => checked.get(path)).filter((file) => file !== undefined);
  const split = holdOut(filesAt(trained), validation?.split ?? 0);
  const trainingFile = new Map(split.training.map((file) => [file.path, file]));

  const stages: RunStage[] = [];
  let firstStep = 0;
  for (const [index, stage] of config.stages.entries()) {
    const files = stage.data.map(({ path }) => trainingFile.get(path)).filter((file) => file !== undefined);
    const plan = new StagePlan({
      seed: config.seed,
      stage: index,
      files: files.map(({ path, pairs }, at) => ({ path, pairs, weight: stage.data[at]?.weight ?? 1 })),
      batchSize: stage.batchSize,
      shuffle: stage.shuffle,
      length: stage.steps === undefined ? { epochs: stage.epochs ?? 1 } : { steps: stage.steps },
    });
    stages.push({ plan, firstStep, files: await Dataset.open(files, options.signal) });
    firstStep += plan.steps;
  }
  const heldOut = validation?.path === undefined ? split.validation : filesAt([validation.path]);
  return {
    stages,
    validation: validation ? await Dataset.open(heldOut, options.signal) : undefined,
    steps: firstStep,
    reports,
    hashes: Object.fromEntries([...checked].map(([path, { sha256 }]) => [path, sha256])),
  };
}

/** Below so many bytes of data, starting threads lasts longer than counting. */
const worthThreads = 4 * 2 ** 20;

async function checkFiles(
  paths: readonly string[],
  config: TrainConfig,
  { modelFolder, longest, signal, onProgress, onReport }: RunDataOptions,
): Promise<{ checked: Map<string, CheckedFile>; reports: FileReport[] }> {
  const limits = pixelLimitsOf(config);
  const bytes = paths.reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
  const pool = bytes < worthThreads ? undefined : new CheckPool(modelFolder, limits, availableParallelism());
  try {
    const counter = pool ?? (await LengthCounter.load(modelFolder, limits));
    const maxLength = longestAllowed(config, longest);
    const checked = new Map<string, CheckedFile>();
    const reports: FileReport[] = [];
    for (const path of paths) {
      const found = await checkFile(path, { counter, maxLength, tooLong: config.tooLong, signal, onProgress });
      checked.set(path, found.checked);
      reports.push(found.report);
      onReport(found.report);
    }
    return { checked, reports };
  } finally {
    await pool?.close();
  }
}

/** Tokens of a conversation: what the configuration allows, or what the model takes. */
export const longestAllowed = ({ maxLength = Number.POSITIVE_INFINITY }: TrainConfig, longest: number): number =>
  Math.min(maxLength, longest);

export async function closeRunData({ stages, validation }: RunData): Promise<void> {
  await Promise.all([...stages.map(({ files }) => files.close()), validation?.close()]);
}
