/** @file A run of `score`: a result line for each record. The flags and files are command.ts's. */

import { type Result, resultLine } from "../../data/result.ts";
import { emptyFile, writeLine } from "../output.ts";
import type { Progress } from "../progress.ts";
import { type RecordTask, type RecordWork, type RunStats, runRecords } from "../record-run.ts";

/** What the command line asked for, checked and opened. */
export interface ScoreTask extends RecordTask {
  /** Whether each answer gets the rewards of its tokens. */
  readonly perToken: boolean;
  readonly output: number;
  /** Whether the output is emptied before the first line: never standard output, where others may have written. */
  readonly overwrite: boolean;
}

/** Rejects with the signal's reason when it aborts; then the output ends with a whole line. */
export function runScore(task: ScoreTask, progress: Progress, signal: AbortSignal): Promise<RunStats> {
  const { output, overwrite, perToken, ...run } = task;
  const load = async (): Promise<RecordWork<Result>> => {
    const { scoreRecords } = await import("../../reward/score-records.ts");
    return (lines, baseFolder, engine, emit) => scoreRecords(lines, engine, { baseFolder, perToken, signal }, emit);
  };
  const begin = () => {
    if (overwrite) emptyFile(output);
    return (result: Result, file: string | undefined) => writeLine(output, resultLine(result, file));
  };
  return runRecords(run, { load, begin }, progress, signal);
}
