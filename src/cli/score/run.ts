/**
 * @file A run of `score`: the model, the engine, lines in and lines out. The flags and files are command.ts's.
 */

import { createReadStream, fstatSync } from "node:fs";
import { Socket } from "node:net";
import { resultLine } from "../../data/result.ts";
import type { EngineStats } from "../../engine/threads/device-stats.ts";
import { readLines } from "../../files/json-lines.ts";
import { locateModel } from "../../hub/locate.ts";
import { type EngineOptions, RewardEngine } from "../../reward/engine.ts";
import { unlessAborted } from "../../tasks/in-order.ts";
import { embeddedModel, sayUntrained } from "../embedded-model.ts";
import { emptyFile, unreadable, writeLine } from "../output.ts";
import type { Progress } from "../progress.ts";

/** What the command line asked for, checked and opened. */
export interface ScoreTask extends Omit<EngineOptions, "folder"> {
  readonly model: string;
  readonly revision: string | undefined;
  /** A file descriptor; 0 is standard input. */
  readonly input: number;
  /** Where relative paths inside the records start. */
  readonly baseFolder: string;
  /** Whether each answer gets the rewards of its tokens. */
  readonly perToken: boolean;
  readonly output: number;
  /** Whether the output is emptied before the first line: never standard output, where others may have written. */
  readonly overwrite: boolean;
}

export interface RunStats {
  readonly records: number;
  readonly failed: number;
  readonly sequences: number;
  readonly tokens: number;
  readonly seconds: { readonly load: number; readonly media: number; readonly compute: number };
  readonly caches: EngineStats["caches"];
  readonly devices: EngineStats["devices"];
}

/** Rejects with the signal's reason when it aborts; then the output ends with a whole line. */
export async function runScore(task: ScoreTask, progress: Progress, signal: AbortSignal): Promise<RunStats> {
  const start = performance.now();
  const { input, output, overwrite, baseFolder, perToken, model, revision, ...options } = task;
  const folder = await locateModel(model, {
    embedded: embeddedModel,
    revision,
    signal,
    onProgress: (step) => {
      if (step.kind === "notice") progress.say(step.message);
      else progress.download(step.done, step.total);
    },
  });
  const [opened, { scoreRecords }] = await openEngine({ ...options, folder }, signal);
  await using engine = opened;
  if (engine.info.untrained) progress.say(sayUntrained);
  const load = (performance.now() - start) / 1000;
  progress.begin();

  const { size } = fstatSync(input); // 0 when unknown, as for a pipe
  const counts = { records: 0, failed: 0 };
  if (overwrite) emptyFile(output);
  await scoreRecords(readLines(bytesOf(input)), engine, { baseFolder, perToken, signal }, async (result, endByte) => {
    await writeLine(output, resultLine(result));
    counts.records++;
    if ("error" in result) counts.failed++;
    progress.update({ ...counts, share: size > 0 ? endByte / size : undefined });
  });
  progress.end({ ...counts, share: 1 });
  const { sequences, tokens, mediaSeconds, computeSeconds, caches, devices } = engine.stats;
  const seconds = { load, media: mediaSeconds, compute: computeSeconds };
  return { ...counts, sequences, tokens, seconds, caches, devices };
}

/** The checks of records are loaded while the threads load the model: they need a tenth of a second. */
function openEngine(options: EngineOptions, signal: AbortSignal) {
  return Promise.all([unlessAborted(RewardEngine.open(options), signal), import("../../reward/score-records.ts")]);
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
