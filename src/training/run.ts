/**
 * @file A whole run in one process: data checked, model loaded, state taken up, steps made, results written. Everything that
 * is worth telling goes through one listener; the first process alone writes files.
 */

import { existsSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { VlRewardError } from "../errors.ts";
import { writeTextDurably, writing } from "../files/durable-file.ts";
import type { MediaPolicy } from "../media/policy.ts";
import { familyOf } from "../models/families.ts";
import type { Device } from "../torch/index.ts";
import { type TrainConfig, trainConfigText } from "./config/config.ts";
import type { CheckProgress, FileReport } from "./data/file-check.ts";
import { closeRunData, openRunData, type RunData } from "./data/run-data.ts";
import { finishRun, writeReport } from "./finish.ts";
import type { Objective } from "./objectives/objective.ts";
import { assertExportTarget } from "./output/export.ts";
import { type Evaluation, MetricsLog, readEvaluations, type StepMetrics } from "./output/metrics.ts";
import { TensorBoardLog } from "./output/tensorboard.ts";
import { resumeRun, saveRun, statesFolder } from "./run-state.ts";
import { Session } from "./session.ts";
import { Trainer } from "./trainer.ts";
import type { World } from "./world.ts";

/** What a run tells while it goes on. Plain data: it comes from another thread. */
export type TrainEvent =
  | { readonly kind: "checking"; readonly progress: CheckProgress }
  | { readonly kind: "checked"; readonly report: FileReport }
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
  | { readonly kind: "evaluation"; readonly evaluation: Evaluation }
  | { readonly kind: "saved"; readonly step: number };

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
  readonly isStopping: () => boolean;
  readonly signal: AbortSignal;
}

/** How a run ended: after which step, and whether that was the last. */
export interface RunResult {
  readonly outcome: "checked" | "finished" | "stopped";
  readonly step: number;
}

/** Rejects with the codes of data, model and files that cannot be used, and as Trainer.run does. */
export async function runTraining(options: RunOptions): Promise<RunResult> {
  const { config, modelFolder, media, emit, signal } = options;
  assertExportTarget(modelFolder, config.output);
  assertFresh(config, options.resume);
  const data = await openRunData(config, {
    modelFolder,
    media,
    longest: familyOf(modelFolder).shape.decoder.maxPositions,
    signal,
    onProgress: (progress) => emit({ kind: "checking", progress }),
    onReport: (report) => emit({ kind: "checked", report }),
  });
  try {
    if (options.checkOnly) return { outcome: "checked", step: 0 };
    const session = new Session({
      ...options,
      answerTokens: (await familyOf(modelFolder).loadProcessor({ limits: {} })).answerTokens,
    });
    try {
      return await train(session, data, options);
    } finally {
      await session.close();
    }
  } finally {
    await closeRunData(data);
  }
}

async function train(session: Session, data: RunData, options: RunOptions): Promise<RunResult> {
  const { config, world, emit, resume } = options;
  const notice = (message: string): void => emit({ kind: "notice", message });
  const context = { config, session, data, world };
  for (const message of session.notices) notice(message);
  const resumed = resume ? resumeRun(context, notice) : undefined;
  if (resume && !resumed) notice("There is no saved state; the run begins with its first step.");
  const done = resumed?.step ?? 0;
  const writes = world.rank === 0;
  if (writes) {
    writing(config.output, () => mkdirSync(config.output, { recursive: true }));
    writeTextDurably(path.join(config.output, "config.yaml"), trainConfigText(config));
  }
  const log = writes ? MetricsLog.open(config.output, { afterStep: done }) : undefined;
  const tensorboard =
    writes && config.tensorboard
      ? TensorBoardLog.open(path.join(config.output, "tensorboard"), { afterStep: done })
      : undefined;
  let accuracy = done > 0 && writes ? readEvaluations(config.output).at(-1)?.overall.accuracy : undefined;
  let last = done;
  let stateFolder = resumed?.folder;
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
      onEvaluation: (evaluation) => {
        accuracy = evaluation.overall.accuracy;
        log?.evaluation(evaluation);
        tensorboard?.evaluation(evaluation);
        emit({ kind: "evaluation", evaluation });
      },
      onSave: (step, stage) => {
        log?.sync();
        stateFolder = saveRun(context, step, stage, accuracy);
        emit({ kind: "saved", step });
      },
      onSkip: (place, { message }) => emit({ kind: "set aside", place, message }),
    },
  });
  try {
    const outcome = await trainer.run(done);
    if (outcome === "finished" && writes && stateFolder) await finishRun(context, options.modelFolder, stateFolder);
    if (writes) writeReport(context, outcome === "finished" ? "Finished." : `Stopped after step ${last}.`);
    return { outcome, step: last };
  } catch (error) {
    if (writes) writeReport(context, `Ended after step ${last}: ${error instanceof Error ? error.message : error}`);
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
