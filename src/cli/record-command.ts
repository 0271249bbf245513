/** @file What commands over a file of records share around the run itself: its files, its end by signals, its exit code. */
import { fstatSync, type Stats } from "node:fs";
import { isatty } from "node:tty";
import { VlRewardError } from "../errors.ts";
import { standardOutputIsClosed } from "./closed-output.ts";
import { findInputs, type RunInput } from "./inputs.ts";
import { listenForInterrupts } from "./interrupts.ts";
import { emptyFile, OutputFile, ReaderGone, writeLine } from "./output.ts";
import { Progress } from "./progress.ts";
import { type RunStats, statsText } from "./record-run.ts";

// File descriptors by number: merely touching process.stdout would make its pipe non-blocking.
export const [standardOutput, standardError] = [1, 2];
const standardInput = 0;

/** The files of a run, opened before the model is loaded so that a wrong path fails at once. */
export class RunFiles {
  readonly inputs: readonly RunInput[];
  readonly #opened: OutputFile[] = [];

  /**
   * @param inputs as findInputs reads them
   * @throws VlRewardError `input_unreadable`, `usage`
   */
  constructor(inputs: readonly string[]) {
    this.inputs = findInputs(inputs);
  }

  /**
   * Where results go -> a file descriptor.
   *
   * @param path a file; - or nothing for standard output
   * @throws VlRewardError `output_unwritable`
   */
  openResults(path: string | undefined): number {
    if (path !== undefined && path !== "-") return this.open(path);
    if (!standardOutputIsClosed()) return standardOutput;
    throw new VlRewardError(
      "output_unwritable",
      "Standard output is closed; name a file for the results: --output FILE.",
    );
  }

  /**
   * -> a file descriptor
   *
   * @param how as OutputFile.open reads it
   * @throws VlRewardError `output_unwritable`, also for another file of this run
   */
  open(path: string, how?: "lines" | "places"): number {
    if (path === "-") throw new VlRewardError("usage", "Only the results can go to standard output (-); name a file.");
    const others: Stats[] = [...this.inputs.map(({ stats }) => stats), ...this.#opened.map(({ fd }) => fstatSync(fd))];
    const file = OutputFile.open(path, others, how);
    this.#opened.push(file);
    return file.fd;
  }

  /** Removes those that this run has made and written nothing into. */
  discardEmpty(): void {
    for (const file of this.#opened) file.discardEmpty();
  }
}

/** A run that can begin. */
export interface ReadyRun {
  /** Where its results go. */
  readonly output: number;
  readonly run: (progress: Progress, signal: AbortSignal) => Promise<RunStats>;
}

export interface RecordCommand {
  /** What happens to records, such as "scored". */
  readonly done: string;
  /** The file of `--stats`. */
  readonly stats: string | undefined;
  /** Opens what the run writes. */
  readonly open: (files: RunFiles) => ReadyRun;
  /** Called at the end of the run, whatever ended it; more than once. */
  readonly end?: () => void;
}

/**
 * Runs the command and returns its exit code.
 *
 * @throws VlRewardError when nothing can be done with any record: exit code 2
 */
export async function runRecordCommand(inputs: readonly string[], command: RecordCommand): Promise<number> {
  const { done, stats, open, end = () => {} } = command;
  const files = new RunFiles(inputs);
  if (inputs.includes("-") && isatty(standardInput)) process.stderr.write("reading records from standard input\n");
  let progress: Progress | undefined;
  try {
    const statsFile = stats === undefined ? undefined : files.open(stats);
    const { output, run } = open(files);
    progress = new Progress(isatty(standardError) && !isatty(output), done);
    const found = await run(progress, listenForInterrupts(end));
    end();
    if (statsFile !== undefined) {
      emptyFile(statsFile);
      await writeLine(statsFile, statsText(found));
    }
    return found.failed > 0 ? 1 : 0;
  } catch (error) {
    progress?.clear();
    end();
    if (error instanceof ReaderGone) return 0;
    files.discardEmpty();
    throw error;
  }
}
