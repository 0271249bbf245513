/**
 * @file A run of `embed`: the vectors of each record, as JSON Lines or as a matrix with a line for each of its rows. The flags and
 * files are command.ts's.
 */
import { type EmbeddedRecord, embeddingLine, type Precision } from "../../data/embedding.ts";
import { withFile } from "../../data/result.ts";
import { NpyFile } from "../../files/npy.ts";
import type { EmbedOptions } from "../../reward/embed-records.ts";
import { emptyFile, writeLine } from "../output.ts";
import type { Progress } from "../progress.ts";
import { type RecordTask, type RecordWork, type RunStats, runRecords } from "../record-run.ts";

/** Where the vectors go, by file descriptors. */
export type EmbedOutput =
  | {
      readonly kind: "lines";
      readonly output: number;
      /** Whether it is emptied before the first line: never standard output, where others may have written. */
      readonly overwrite: boolean;
    }
  | {
      readonly kind: "matrix";
      readonly output: number;
      /** The output's, for errors. */
      readonly path: string;
      /** For a line about each row, and about each record that has none. */
      readonly rows: number;
    };

/** What the command line asked for, checked and opened. */
export interface EmbedTask extends RecordTask {
  readonly embedding: Omit<EmbedOptions, "signal" | "baseFolder">;
  readonly to: EmbedOutput;
}

/** Rejects with the signal's reason when it aborts; then the output holds whole lines, or whole rows and their lines. */
export function runEmbed(
  { embedding, to, ...run }: EmbedTask,
  progress: Progress,
  signal: AbortSignal,
): Promise<RunStats> {
  const load = async (): Promise<RecordWork<EmbeddedRecord>> => {
    const { embedRecords } = await import("../../reward/embed-records.ts");
    return (lines, baseFolder, engine, emit) => embedRecords(lines, engine, { ...embedding, baseFolder, signal }, emit);
  };
  const { precision } = embedding;
  return runRecords(
    run,
    {
      load,
      begin: ({ info }) =>
        to.kind === "lines" ? lineWriter(to, precision) : matrixWriter(to, info.hiddenSize, precision),
    },
    progress,
    signal,
  );
}

type Writer = (record: EmbeddedRecord, file: string | undefined) => Promise<void>;

function lineWriter(to: Extract<EmbedOutput, { kind: "lines" }>, precision: Precision): Writer {
  if (to.overwrite) emptyFile(to.output);
  return (record, file) => writeLine(to.output, embeddingLine(record, precision, file));
}

/** A row comes before its line: every line's row is there, whatever ends the process. */
function matrixWriter(to: Extract<EmbedOutput, { kind: "matrix" }>, columns: number, precision: Precision): Writer {
  const { output, path, rows } = to;
  const matrix = NpyFile.begin(output, path, columns, precision);
  emptyFile(rows);
  const say = (line: object) => writeLine(rows, `${JSON.stringify(line)}\n`);
  return async (record, file) => {
    if ("error" in record) return say({ row: null, ...withFile(record, file) });
    const several = record.kind === "candidates" || record.kind === "pair";
    for (const [answer, vector] of record.vectors.entries()) {
      const row = matrix.rows;
      matrix.append(vector);
      await say({ row, ...withFile({ id: record.id }, file), ...(several && { answer }) });
    }
  };
}
