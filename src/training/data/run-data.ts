/**
 * @file The data of a whole run: its files checked, generators set up, the validation set held out, the order of every
 * stage settled.
 */

import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { VlRewardError } from "../../errors.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import { familyOf } from "../../models/families.ts";
import type { DataSource, Stage, TrainConfig } from "../config/config.ts";
import { CheckPool } from "./check-pool.ts";
import {
  assertTrainable,
  type CheckedFile,
  type CheckProgress,
  checkFile,
  type FileReport,
  holdOut,
} from "./file-check.ts";
import { FileSource } from "./file-source.ts";
import { generatedSource } from "./generators.ts";
import { StagePlan } from "./order.ts";
import { closeSources, type RecordSource } from "./record-source.ts";

export interface RunStage {
  readonly plan: StagePlan;
  /** Steps of all stages before it. */
  readonly firstStep: number;
  /** Its files and generators, as the plan counts them. */
  readonly sources: readonly RecordSource[];
}

export interface RunData {
  readonly stages: readonly RunStage[];
  readonly validation: readonly RecordSource[] | undefined;
  /** Steps of all stages. */
  readonly steps: number;
  readonly reports: readonly FileReport[];
  /** What the run depends on: the hash of each file by its path, and of what a generator makes by its place. */
  readonly hashes: Readonly<Record<string, string>>;
}

export interface RunDataOptions {
  /** The checkpoint whose tokenizer counts. */
  readonly modelFolder: string;
  readonly media: MediaPolicy;
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
  const training = config.stages.flatMap(({ data }) => data);
  const paths = pathsOf([...training, ...(validation ? [validation] : [])]);
  const { checked, reports } = await checkFiles(paths, config, options);
  assertTrainable(reports, config.onBadRecord);
  const filesAt = (wanted: readonly string[]): CheckedFile[] =>
    wanted.map((path) => checked.get(path)).filter((file) => file !== undefined);
  const split = holdOut(filesAt(pathsOf(training)), validation?.split ?? 0);
  const trainingFile = new Map(split.training.map((file) => [file.path, file]));
  const sources = new OpenSources(config.seed, options.signal);
  try {
    const stages: RunStage[] = [];
    let firstStep = 0;
    for (const [index, stage] of config.stages.entries()) {
      const opened: RecordSource[] = [];
      for (const [at, one] of stage.data.entries()) {
        opened.push(await sources.open(one, trainingFile, ["stage", index, at]));
      }
      assertHoldsDocument(opened, stage);
      const plan = new StagePlan({
        seed: config.seed,
        stage: index,
        sources: opened.map((source, at) => ({ source, weight: stage.data[at]?.weight ?? 1 })),
        batchSize: stage.batchSize,
        shuffle: stage.shuffle,
        length: stage.steps === undefined ? { epochs: stage.epochs ?? 1 } : { steps: stage.steps },
      });
      stages.push({ plan, firstStep, sources: opened });
      firstStep += plan.steps;
    }
    const heldOut: RecordSource[] = [];
    if (validation?.split !== undefined) {
      for (const file of split.validation) heldOut.push(await sources.openFile(file));
    } else if (validation !== undefined) {
      heldOut.push(await sources.open(validation, checked, ["validation"]));
    }
    return {
      stages,
      validation: validation && heldOut,
      steps: firstStep,
      reports,
      hashes: {
        ...Object.fromEntries([...checked].map(([path, { sha256 }]) => [path, sha256])),
        ...Object.fromEntries(sources.fingerprints),
      },
    };
  } catch (error) {
    await closeSources(sources.all);
    throw error;
  }
}

/** The files among data, each once. */
const pathsOf = (data: readonly { readonly path?: string }[]): string[] => [
  ...new Set(data.flatMap(({ path }) => (path === undefined ? [] : [path]))),
];

/** A document may have fewer pairs than a generator promises, but never none: so no step is without. */
function assertHoldsDocument(sources: readonly RecordSource[], { name, batchSize }: Stage): void {
  const least = Math.max(...sources.map((source) => (source.together > 1 ? source.together * source.pairsOf(0) : 1)));
  if (batchSize >= least) return;
  throw new VlRewardError(
    "config_invalid",
    `stage ${name}: batch_size is ${batchSize}, but a generated document has up to ${least} pairs; expected at least that`,
  );
}

/** Opens what the configuration names, and knows all that is open. */
class OpenSources {
  readonly all: RecordSource[] = [];
  /** Of what generators make, by their places. */
  readonly fingerprints = new Map<string, string>();
  readonly #seed: number;
  readonly #signal: AbortSignal;

  constructor(seed: number, signal: AbortSignal) {
    this.#seed = seed;
    this.#signal = signal;
  }

  /** @param use makes a generator's documents others than those of the run's other generators */
  async open(
    data: DataSource,
    files: ReadonlyMap<string, CheckedFile>,
    use: readonly (string | number)[],
  ): Promise<RecordSource> {
    const checked = data.path === undefined ? undefined : files.get(data.path);
    if (checked) return this.openFile(checked);
    const { source, fingerprint } = generatedSource(data, this.#seed, use);
    this.all.push(source);
    this.fingerprints.set(use.join("."), fingerprint);
    return source;
  }

  async openFile(checked: CheckedFile): Promise<RecordSource> {
    const source = await FileSource.open(checked, this.#signal);
    this.all.push(source);
    return source;
  }
}

/** Below so many bytes of data, starting threads lasts longer than counting. */
const worthThreads = 4 * 2 ** 20;

async function checkFiles(
  paths: readonly string[],
  config: TrainConfig,
  { modelFolder, media, longest, signal, onProgress, onReport }: RunDataOptions,
): Promise<{ checked: Map<string, CheckedFile>; reports: FileReport[] }> {
  const limits = pixelLimitsOf(config);
  const bytes = paths.reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
  const pool = bytes < worthThreads ? undefined : new CheckPool(modelFolder, limits, media, availableParallelism());
  try {
    const counter = pool ?? (await familyOf(modelFolder).loadProcessor({ limits }));
    const maxLength = longestAllowed(config, longest);
    const checked = new Map<string, CheckedFile>();
    const reports: FileReport[] = [];
    for (const path of paths) {
      const found = await checkFile(path, {
        counter,
        maxLength,
        tooLong: config.tooLong,
        policy: media,
        signal,
        onProgress,
      });
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
  await closeSources([...stages.flatMap(({ sources }) => sources), ...(validation ?? [])]);
}
