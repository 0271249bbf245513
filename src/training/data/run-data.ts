/**
 * @file The data of a whole run: its files checked, generators set up, the validation set held out, the order of every
 * stage settled.
 */

import { createHash } from "node:crypto";
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
  /** What the run depends on: of each entry of data, by its place in the configuration, a hash of what it holds. */
  readonly hashes: Readonly<Record<string, string>>;
  /** What a person should know, in sentences. */
  readonly notices: readonly string[];
}

export interface RunDataOptions {
  /** The checkpoint whose tokenizer counts. */
  readonly modelFolder: string;
  readonly media: MediaPolicy;
  /** What the model takes at most, in tokens. */
  readonly longest: number;
  /** Processes of this run that share this machine's cores. */
  readonly localSize: number;
  readonly signal: AbortSignal;
  readonly onProgress: (done: CheckProgress) => void;
  readonly onReport: (report: FileReport) => void;
}

/** Pixel limits as the configuration sets them: those it leaves out are the defaults. */
export const pixelLimitsOf = ({ minPixels, maxPixels }: TrainConfig): { minPixels?: number; maxPixels?: number } => ({
  ...(minPixels !== undefined && { minPixels }),
  ...(maxPixels !== undefined && { maxPixels }),
});

/**
 * Rejects as checkFile, assertTrainable and StagePlan do: a {@link VlRewardError} that says what is wrong with the data; with
 * `config_invalid` for a stage or a validation set that would be empty, and for a validation set that is trained on.
 */
export async function openRunData(config: TrainConfig, options: RunDataOptions): Promise<RunData> {
  const { validation } = config;
  const training = config.stages.flatMap(({ data }) => data);
  const paths = pathsOf([...training, ...(validation ? [validation] : [])]);
  const { checked, reports } = await checkFiles(paths, config, options);
  assertTrainable(reports, config.onBadRecord, longestSaid(config, options.longest));
  const filesAt = (wanted: readonly string[]): CheckedFile[] =>
    wanted.map((path) => checked.get(path)).filter((file) => file !== undefined);
  const trainedOn = filesAt(pathsOf(training));
  const split = holdOut(trainedOn, validation?.split ?? 0);
  if (validation?.split !== undefined) assertSplits(split, validation.split);
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
      assertHasSteps(plan, stage);
      stages.push({ plan, firstStep, sources: opened });
      firstStep += plan.steps;
    }
    const heldOut: RecordSource[] = [];
    const notices: string[] = [];
    if (validation?.split !== undefined) {
      for (const file of split.validation) heldOut.push(await sources.openFile(file));
    } else if (validation !== undefined) {
      heldOut.push(await sources.open(validation, checked, ["validation"]));
      assertNotTrainedOn(sources.contents);
      notices.push(...sharedPrompts(filesAt(pathsOf([validation])), trainedOn));
    }
    return {
      stages,
      validation: validation && heldOut,
      steps: firstStep,
      reports,
      hashes: Object.fromEntries(sources.hashes),
      notices,
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

function assertHasSteps({ steps, pairsPerEpoch }: StagePlan, { name, epochs }: Stage): void {
  if (steps > 0) return;
  throw new VlRewardError(
    "config_invalid",
    `stage ${name}: epochs is ${epochs}, and an epoch has ${pairsPerEpoch} pairs: that is no pair and no step; expected at ` +
      `least ${Number((1 / pairsPerEpoch).toPrecision(3))}, or steps in place of epochs`,
  );
}

function assertSplits({ training, validation }: ReturnType<typeof holdOut>, fraction: number): void {
  const refused = (found: string, expected: string): VlRewardError =>
    new VlRewardError("config_invalid", `validation.split: ${found}; expected ${expected}`);
  const promptsOf = (files: readonly CheckedFile[]): number =>
    new Set(files.flatMap(({ prompts }) => [...prompts])).size;
  const byHash = "(each prompt by a hash of its own, so that of few another part may be held out)";
  const another = (size: string): string => `a ${size} part, or a file of its own as validation.path`;
  if (promptsOf(validation) === 0) {
    throw refused(
      `${fraction} of ${counted(promptsOf(training), "prompt")} holds out none ${byHash}`,
      another("larger"),
    );
  }
  for (const [index, { path, records }] of training.entries()) {
    if (records.length > 0) continue;
    const pairs = validation[index]?.pairs.reduce((sum, count) => sum + count, 0) ?? 0;
    const all = pairs === 1 ? "the one pair there is" : `all ${pairs} pairs`;
    throw refused(
      `${fraction} holds out ${all} in ${path} ${byHash}, and none is left to train on`,
      another("smaller"),
    );
  }
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

/** @param contents of each entry of data, by its place */
function assertNotTrainedOn(contents: ReadonlyMap<string, string>): void {
  const validation = contents.get("validation");
  const same = [...contents].find(([place, content]) => place !== "validation" && content === validation);
  if (!same) return;
  throw new VlRewardError(
    "config_invalid",
    `validation has the records of ${same[0]}, so that it would measure what is trained on; expected other ones, or ` +
      "validation.split, which holds out a part",
  );
}

function sharedPrompts(validation: readonly CheckedFile[], training: readonly CheckedFile[]): string[] {
  const trainedOn = new Set(training.flatMap(({ prompts }) => [...prompts]));
  return validation.flatMap(({ path, prompts }) => {
    const shared = prompts.filter((prompt) => trainedOn.has(prompt)).length;
    if (shared === 0) return [];
    const records = `${shared} of the ${prompts.length} usable records`;
    return [
      `${path}: ${records} have a prompt that is trained on, too: the validation's figures are better than they should be.`,
    ];
  });
}

/** Opens what the configuration names, and knows all that is open. */
class OpenSources {
  readonly all: RecordSource[] = [];
  /** What each entry of data holds, by its place: the hash of the file, or of what is made. */
  readonly contents = new Map<string, string>();
  /** The same, and of a file which of its records are used. */
  readonly hashes = new Map<string, string>();
  readonly #files = new Map<string, FileSource>(); // the first source of each
  readonly #seed: number;
  readonly #signal: AbortSignal;

  constructor(seed: number, signal: AbortSignal) {
    this.#seed = seed;
    this.#signal = signal;
  }

  /** @param use the place in the configuration, which makes a generator's documents others than those of the run's other generators */
  async open(
    data: DataSource,
    files: ReadonlyMap<string, CheckedFile>,
    use: readonly (string | number)[],
  ): Promise<RecordSource> {
    const [what, ...at] = use;
    const place = what === "stage" ? `stages.${at.join(".data.")}` : String(what);
    const checked = data.path === undefined ? undefined : files.get(data.path);
    if (checked) {
      this.contents.set(place, checked.sha256);
      this.hashes.set(place, createHash("sha256").update(checked.sha256).update(checked.records).digest("hex"));
      return this.openFile(checked);
    }
    const { source, fingerprint } = generatedSource(data, this.#seed, use);
    this.all.push(source);
    this.contents.set(place, fingerprint);
    this.hashes.set(place, fingerprint);
    return source;
  }

  async openFile(checked: CheckedFile): Promise<RecordSource> {
    const known = this.#files.get(checked.path);
    const source = known ? known.withRecords(checked) : await FileSource.open(checked, this.#signal);
    if (!known) this.#files.set(checked.path, source);
    this.all.push(source);
    return source;
  }
}

/** Below so many bytes of data, starting threads lasts longer than counting. */
const worthThreads = 4 * 2 ** 20;

async function checkFiles(
  paths: readonly string[],
  config: TrainConfig,
  { modelFolder, media, longest, localSize, signal, onProgress, onReport }: RunDataOptions,
): Promise<{ checked: Map<string, CheckedFile>; reports: FileReport[] }> {
  const limits = pixelLimitsOf(config);
  const bytes = paths.reduce((sum, path) => sum + sizeOf(path), 0);
  const threads = Math.max(1, Math.floor(availableParallelism() / localSize));
  const pool = bytes < worthThreads ? undefined : new CheckPool(modelFolder, limits, media, threads);
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

/** 0 where it cannot be told; what is wrong is said when the file is opened. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

/** Tokens of a conversation: what the configuration allows, or what the model takes. */
export const longestAllowed = ({ maxLength = Number.POSITIVE_INFINITY }: TrainConfig, longest: number): number =>
  Math.min(maxLength, longest);

/** The same in words. */
const longestSaid = ({ maxLength }: TrainConfig, longest: number): string =>
  maxLength !== undefined && maxLength < longest
    ? `max_length, ${counted(maxLength, "token")}`
    : `the ${counted(longest, "token")} that the model takes`;

export async function closeRunData({ stages, validation }: RunData): Promise<void> {
  await closeSources([...stages.flatMap(({ sources }) => sources), ...(validation ?? [])]);
}
