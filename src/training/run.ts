/**
 * @file A whole run in one process: data checked, model loaded, state taken up, steps made, results written. Everything that
 * is worth telling goes through one listener; the first process alone writes files.
 */

import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { VlRewardError } from "../errors.ts";
import { writeTextDurably, writing } from "../files/durable-file.ts";
import { makeFolder } from "../files/folder.ts";
import type { MediaPolicy } from "../media/policy.ts";
import { familyOf } from "../models/families.ts";
import type { Device } from "../torch/index.ts";
import { baseModelOf } from "./binding.ts";
import { type TrainConfig, trainConfigText } from "./config/config.ts";
import type { CheckProgress, FileReport } from "./data/file-check.ts";
import { closeRunData, openRunData, type RunData } from "./data/run-data.ts";
import { finishRun, writeReport } from "./finish.ts";
import type { Objective } from "./objectives/objective.ts";
import { assertExportTarget } from "./output/export.ts";
import { type Evaluation, MetricsLog, readEvaluations, type StepMetrics } from "./output/metrics.ts";
import { TensorBoardLog } from "./output/tensorboard.ts";
import { noteEvaluation, resumeRun, saveRun, statesFolder } from "./run-state.ts";
import { Session } from "./session.ts";
import { Trainer } from "./trainer.ts";
import { anyOf, type World } from "./world.ts";

/** What a run tells while it goes on. Plain data: it comes from another thread. */
export type TrainEvent =
  | { readonly kind: "checking"; readonly progress: CheckProgress }
  | { readonly kind: "checked"; readonly report: FileReport }
  /** All data is checked; the model is loaded now. */
  | { readonly kind: "loading" }
  /** Something a person should know. */
  | { readonly kind: "notice"; readonly message: string }
  /** A record cannot be used, and is skipped. */
  | { readonly kind: "set aside"; readonly place: string; readonly message: string }
  /** What this process holds, in bytes, and how it computes with it. */
  | {
      readonly kind: "memory";
      readonly weights: number;
      readonly gradients: number;
      readonly optimizer: number;
      readonly tokenBudget: number;
      readonly checkpointing: boolean;
    }
  | { readonly kind: "begin"; readonly done: number; readonly steps: number }
  | { readonly kind: "step"; readonly metrics: StepMetrics }
  /** The validation set is being measured; the state after this step is saved. */
  | { readonly kind: "evaluating"; readonly step: number }
  | { readonly kind: "evaluation"; readonly evaluation: Evaluation }
  /** The validation set could not be measured; the run goes on. */
  | { readonly kind: "not evaluated"; readonly step: number; readonly message: string }
  | { readonly kind: "saved"; readonly step: number }
  /** All steps are made and saved; the checkpoint is written now. */
  | { readonly kind: "finishing" };

export interface RunOptions {
  readonly config: TrainConfig;
  /** The checkpoint that `config.model` names. */
  readonly modelFolder: string;
  /** What records may have read. */
  readonly media: MediaPolicy;
  readonly device: Device;
  readonly resume: boolean;
  /** Whether to stop once the data is checked. */
  readonly checkOnly: boolean;
  readonly world: World;
  /** Those that the configuration's stages can weigh. */
  readonly objectives: readonly Objective[];
  readonly emit: (event: TrainEvent) => void;
  /** Whether the run is asked to save its state and stop. */
  readonly isStopping: () => boolean;
  /** Aborts when it is, for what can be left at once. */
  readonly signal: AbortSignal;
}

/** How a run ended. "interrupted" is before it made a step: there is nothing new to save. */
export type RunResult =
  | { readonly outcome: "checked" | "interrupted" }
  | { readonly outcome: "finished" | "stopped"; readonly step: number };

/** Rejects with the codes of data, model and files that cannot be used, and as Trainer.run does. */
export async function runTraining(options: RunOptions): Promise<RunResult> {
  const { config, modelFolder, world, emit } = options;
  assertExportTarget(modelFolder, config.output);
  assertFresh(config, options.resume);
  const data = await checkedData(options);
  try {
    // All are past the check before one goes on, because those that are to stop would be waited for.
    if (anyOf(world, options.isStopping()) || !data) return { outcome: "interrupted" };
    for (const message of data.notices) emit({ kind: "notice", message });
    if (options.checkOnly) return { outcome: "checked" };
    emit({ kind: "loading" });
    const { answerTokens } = await familyOf(modelFolder).loadProcessor({ limits: {} });
    const session = new Session({ ...options, answerTokens });
    try {
      return await train(session, data, options);
    } finally {
      await session.close();
    }
  } finally {
    if (data) await closeRunData(data);
  }
}

/** -> undefined where the run was asked to stop meanwhile */
async function checkedData({
  config,
  modelFolder,
  media,
  world,
  emit,
  signal,
}: RunOptions): Promise<RunData | undefined> {
  try {
    return await openRunData(config, {
      modelFolder,
      media,
      longest: familyOf(modelFolder).shape.decoder.maxPositions,
      localSize: world.localSize,
      signal,
      onProgress: (progress) => emit({ kind: "checking", progress }),
      onReport: (report) => emit({ kind: "checked", report }),
    });
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

async function train(session: Session, data: RunData, options: RunOptions): Promise<RunResult> {
  const { config, modelFolder, world, emit, resume } = options;
  const notice = (message: string): void => emit({ kind: "notice", message });
  const base = baseModelOf(session.model, modelFolder, config.init !== undefined);
  const context = { config, session, data, world, base };
  for (const message of session.notices) notice(message);
  const resumed = resume ? resumeRun(context, notice) : undefined;
  if (resume && !resumed) notice("There is no saved state; the run begins with its first step.");
  if (anyOf(world, options.isStopping())) return { outcome: "interrupted" };
  const done = resumed?.step ?? 0;
  const writes = world.rank === 0;
  if (writes) {
    writing(config.output, () => makeFolder(config.output));
    writeTextDurably(path.join(config.output, "config.yaml"), trainConfigText(config));
  }
  const log = writes ? MetricsLog.open(config.output, { afterStep: done }) : undefined;
  const tensorboard =
    writes && config.tensorboard
      ? TensorBoardLog.open(path.join(config.output, "tensorboard"), { afterStep: done })
      : undefined;
  let last = done;
  let stateFolder = writes ? resumed?.folder : undefined; // the latest saved state, of the process that writes
  const noted = writes ? readEvaluations(config.output).findLast(({ step }) => step === done) : undefined;
  if (noted && stateFolder) noteEvaluation(config, stateFolder, noted.overall.accuracy);
  const remarks = [...data.notices];
  emit({ kind: "memory", ...session.bytes, ...session.memory });
  emit({ kind: "begin", done, steps: data.steps });
  const trainer = new Trainer({
    ...context,
    isStopping: options.isStopping,
    listener: {
      onStep: (metrics) => {
        last = metrics.step;
        log?.step(metrics);
        tensorboard?.step(metrics);
        emit({ kind: "step", metrics });
      },
      onEvaluating: (step) => emit({ kind: "evaluating", step }),
      onEvaluation: (evaluation) => {
        log?.evaluation(evaluation);
        log?.sync();
        tensorboard?.evaluation(evaluation);
        if (stateFolder) noteEvaluation(config, stateFolder, evaluation.overall.accuracy);
        emit({ kind: "evaluation", evaluation });
      },
      onFailedEvaluation: (step, error) => {
        const message = error?.message ?? "a record of another process cannot be used";
        remarks.push(`The validation after step ${step} failed: ${message}.`);
        emit({ kind: "not evaluated", step, message });
      },
      onSave: (step, stage) => {
        stateFolder = saveRun(context, step, stage, log?.sync());
        emit({ kind: "saved", step });
      },
      onSkip: (place, { message }) => emit({ kind: "set aside", place, message }),
    },
  });
  const report = (outcome: string): void => {
    if (writes) writeReport(context, [outcome, ...remarks].join(" "));
  };
  try {
    const outcome = await trainer.run(done, anyOf(world, noted !== undefined));
    if (outcome === "finished") emit({ kind: "finishing" });
    if (outcome === "finished" && writes && stateFolder) await finishRun(context, modelFolder, stateFolder);
    report(outcome === "finished" ? "Finished." : `Stopped after step ${last}.`);
    return { outcome, step: last };
  } catch (error) {
    try {
      report(`Ended after step ${last}: ${error instanceof Error ? error.message : error}`);
    } catch {
      // What has ended the run says more, such as that its folder is gone.
    }
    throw error;
  } finally {
    log?.close();
    tensorboard?.close();
  }
}

/** A new run does not write over the work of another one. */
function assertFresh(config: TrainConfig, resume: boolean): void {
  const folder = statesFolder(config);
  if (resume || !existsSync(folder) || readdirSync(folder).length === 0) return;
  throw new VlRewardError(
    "usage",
    `${folder} holds the saved states of a run. Add --resume to go on with it, choose another output, or remove it.`,
  );
}
