/**
 * @file The thread in which `score` works: it reads, computes and writes, and tells the main thread how far it is.
 *
 * A forward of a large model holds its thread for a long time; the main thread stays free for Ctrl-C and the progress.
 */

import { createReadStream, fstatSync } from "node:fs";
import { Socket } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { locateModel } from "../checkpoint/locate.ts";
import { readLines } from "../data/json-lines.ts";
import { resultLine } from "../data/result.ts";
import { type ErrorCode, VlRewardError } from "../errors.ts";
import type { EngineOptions } from "../reward/engine.ts";
import { embeddedModel, sayUntrained } from "./embedded-model.ts";
import { emptyFile, ReaderGone, unreadable, writeLine } from "./output.ts";
import { scoreRecords } from "./score-records.ts";

/** What the main thread has checked and opened. */
export interface ScoreTask extends Omit<EngineOptions, "folder"> {
  readonly model: string;
  readonly revision: string | undefined;
  /** A file descriptor; 0 is standard input, which the main thread hands on. */
  readonly input: number;
  /** Where relative paths inside the records start. */
  readonly baseFolder: string;
  readonly output: number;
  /** Whether the output is emptied before the first line: never standard output, where others may have written. */
  readonly overwrite: boolean;
}

export interface RunCounts {
  readonly records: number;
  readonly failed: number;
}

export interface RunStats extends RunCounts {
  readonly sequences: number;
  readonly tokens: number;
  readonly seconds: { readonly load: number; readonly media: number; readonly compute: number };
}

/** What this thread tells; the last message is `done`, `readerGone` or `failed`. */
export type ThreadMessage =
  | { readonly kind: "say"; readonly line: string }
  | { readonly kind: "download"; readonly done: number; readonly total: number }
  | { readonly kind: "loaded" }
  | ({ readonly kind: "progress"; readonly bytes: number } & RunCounts)
  | { readonly kind: "done"; readonly stats: RunStats }
  | { readonly kind: "readerGone" }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string };

const progressEvery = 50; // milliseconds

function tell(message: ThreadMessage): void {
  parentPort?.postMessage(message);
}

async function run(task: ScoreTask): Promise<RunStats> {
  const start = performance.now();
  const folder = await locateModel(task.model, {
    embedded: embeddedModel,
    revision: task.revision,
    onProgress: (progress) => {
      if (progress.kind === "notice") tell({ kind: "say", line: progress.message });
      else tell({ kind: "download", done: progress.done, total: progress.total });
    },
  });
  // Imported late: a machine without libtorch gets the error as a message like any other.
  const { RewardEngine } = await import("../reward/engine.ts");
  const engine = await RewardEngine.open({ ...task, folder });
  if (engine.info.untrained) tell({ kind: "say", line: sayUntrained });
  const load = (performance.now() - start) / 1000;
  tell({ kind: "loaded" });

  const counts = { records: 0, failed: 0 };
  let told = performance.now();
  if (task.overwrite) emptyFile(task.output);
  await scoreRecords(readLines(bytesOf(task.input)), engine, task.baseFolder, (result, line) => {
    writeLine(task.output, resultLine(result));
    counts.records++;
    if ("error" in result) counts.failed++;
    if (performance.now() - told < progressEvery) return;
    told = performance.now();
    tell({ kind: "progress", bytes: line.endByte, ...counts });
  });
  const { sequences, tokens, mediaSeconds, computeSeconds } = engine.stats;
  await engine.close();
  return { ...counts, sequences, tokens, seconds: { load, media: mediaSeconds, compute: computeSeconds } };
}

async function* bytesOf(input: number): AsyncGenerator<Uint8Array> {
  const chunks = streamOf(input)[Symbol.asyncIterator]();
  for (;;) {
    const next: IteratorResult<Uint8Array> = await chunks.next().catch((cause: unknown) => {
      throw unreadable(cause);
    });
    if (next.done) return;
    yield next.value;
  }
}

function streamOf(input: number): AsyncIterable<Uint8Array> {
  if (input === 0) return process.stdin;
  // A read from a named pipe may wait for ever; a socket's can be given up when the run is interrupted.
  if (fstatSync(input).isFIFO()) return new Socket({ fd: input, readable: true, writable: false });
  return createReadStream("", { fd: input, autoClose: false });
}

try {
  const task: ScoreTask = workerData;
  tell({ kind: "done", stats: await run(task) });
} catch (error) {
  if (error instanceof ReaderGone) tell({ kind: "readerGone" });
  else if (error instanceof VlRewardError) tell({ kind: "failed", code: error.code, message: error.message });
  else throw error;
}
