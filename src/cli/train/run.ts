/**
 * @file A run of `train`: the model found, signals, progress and exit code. The flags are command.ts's.
 */
import { isatty } from "node:tty";
import { VlRewardError } from "../../errors.ts";
import { isAdapter, locateModel } from "../../hub/locate.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import { byteSize, grouped } from "../../report/numbers.ts";
import { endProcess, processEnvironment } from "../../torch/index.ts";
import type { TrainConfig } from "../../training/config/config.ts";
import type { FileReport } from "../../training/data/file-check.ts";
import { endWithLauncher, runProcesses } from "../../training/processes.ts";
import type { RunResult, TrainEvent } from "../../training/run.ts";
import { train } from "../../training/training.ts";
import { modelLookup } from "../embedded-model.ts";
import { tellFailure } from "../failure.ts";
import { Interrupts } from "./interrupts.ts";
import { TrainProgress } from "./progress.ts";

/** What the command line asked for besides the configuration. */
export interface TrainRun {
  readonly resume: boolean;
  /** To be started on this machine; undefined where the environment says what this process is one of, or for one. */
  readonly processes: number | undefined;
  readonly device: string;
  /** What records may have read. */
  readonly media: MediaPolicy;
  /** Whether to stop once configuration and records are checked. */
  readonly check: boolean;
}

const standardError = 2;

/**
 * Trains as configured.
 *
 * @returns the exit code
 * @throws VlRewardError when training cannot begin or go on: exit code 2
 */
export async function runTraining(config: TrainConfig, run: TrainRun): Promise<number> {
  endWithLauncher();
  const environment = processEnvironment();
  if (environment === undefined && run.processes !== undefined && run.processes > 1) {
    return runProcesses({ command: process.execPath, args: process.argv.slice(1), processes: run.processes });
  }
  const progress = new TrainProgress(environment === undefined && isatty(standardError));
  const shown = environment === undefined || environment.rank === 0 ? () => true : isForEveryone;
  const interrupts = new Interrupts(progress);
  const modelFolder = await locate(config.model, interrupts.signal, progress);
  if (modelFolder === undefined) return interrupts.exitCode;
  let heard = false; // anything from the thread that trains
  interrupts.signal.addEventListener("abort", () => {
    // It may be waiting for the other processes, for minutes, and there is nothing to save.
    if (environment && !heard) endProcess(interrupts.exitCode);
  });
  try {
    const result = await train({
      config,
      modelFolder,
      device: run.device,
      media: run.media,
      resume: run.resume,
      checkOnly: run.check,
      signal: interrupts.signal,
      environment,
      onEvent: (event) => {
        heard = true;
        interrupts.follow(event);
        if (shown(event)) show(event, progress);
      },
    });
    progress.clear();
    if (environment === undefined || environment.rank === 0) tellEnd(result, config, progress);
    return result.outcome === "stopped" || result.outcome === "interrupted" ? interrupts.exitCode : 0;
  } catch (error) {
    progress.clear();
    if (environment === undefined) throw error;
    // Its thread may wait for others for ever: the usual way out would wait for it.
    tellFailure(error);
    return endProcess(2);
  }
}

/** -> the model's folder; undefined where it was asked to stop meanwhile */
async function locate(model: string, signal: AbortSignal, progress: TrainProgress): Promise<string | undefined> {
  try {
    const folder = await locateModel(model, modelLookup(progress, signal));
    if (!(await isAdapter(folder))) return folder;
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} is an adapter: merge it into its base first, with \`vl-reward merge ${model} OUT\`, and train OUT.`,
    );
  } catch (error) {
    if (!signal.aborted) throw error;
    progress.clear();
    return undefined;
  }
}

/** What each of several processes says; the rest is the first one's to say. */
const isForEveryone = ({ kind }: TrainEvent): boolean => ["memory", "set aside", "not evaluated"].includes(kind);

function show(event: TrainEvent, progress: TrainProgress): void {
  switch (event.kind) {
    case "checking": {
      const { path, records, totalRecords } = event.progress;
      progress.show(() => `checking ${path}: ${grouped(records)} of ${grouped(totalRecords)} records`);
      break;
    }
    case "checked":
      progress.say(reportLine(event.report));
      break;
    case "notice":
      progress.say(event.message);
      break;
    case "begin":
      progress.begin(event.done, event.steps);
      progress.say(`${grouped(event.steps)} steps${event.done > 0 ? `, ${grouped(event.done)} of them done` : ""}`);
      break;
    case "step":
      progress.step(event.metrics);
      break;
    case "evaluation":
      progress.evaluation(event.evaluation);
      break;
    case "not evaluated":
      progress.say(`step ${event.step}: no validation, ${event.message}; the run goes on`);
      break;
    case "set aside":
      progress.say(`${event.place} is set aside: ${event.message}`);
      break;
    case "memory": {
      const { weights, gradients, optimizer } = event;
      progress.say(
        `memory: ${byteSize(weights)} weights, ${byteSize(gradients)} gradients, ${byteSize(optimizer)} optimizer; ` +
          `${grouped(event.tokenBudget)} tokens a pass${event.checkpointing ? ", activation checkpointing" : ""}`,
      );
      break;
    }
    case "saved":
      progress.say(`step ${event.step}: state saved`);
      break;
  }
}

function reportLine({
  path,
  format,
  records,
  usable,
  pairs,
  bad,
  tooLong,
  lengthUnknown,
  longest,
}: FileReport): string {
  const asides = [
    bad.count > 0 && `${grouped(bad.count)} bad, first line ${bad.first[0]?.line}: ${bad.first[0]?.message}`,
    tooLong.dropped > 0 && `${grouped(tooLong.dropped)} too long and dropped`,
    tooLong.cut > 0 && `${grouped(tooLong.cut)} too long and cut`,
    lengthUnknown > 0 && `${grouped(lengthUnknown)} of a length that is not known yet`,
  ].filter((text) => text !== false);
  const written = format === undefined || format === "messages" ? "" : ` (${format})`;
  const counts = `${grouped(usable)} of ${grouped(records)} records${written}, ${grouped(pairs)} pairs, longest ${grouped(longest)} tokens`;
  return `${path}: ${[counts, ...asides].join("; ")}`;
}

function tellEnd(result: RunResult, { output }: TrainConfig, progress: TrainProgress): void {
  const { outcome } = result;
  if (outcome === "checked") progress.say("The configuration and all records are fine.");
  if (outcome === "interrupted") progress.say("Stopped before another step was made.");
  if (outcome === "stopped") progress.say(`Stopped after step ${result.step}; --resume goes on from there.`);
  if (outcome === "finished") progress.say(`The checkpoint is ${output}; how training went, ${output}/report.html.`);
}
