/** @file What commands over a file of records share around the run itself: its files, its end by signals, its exit code. */
import { dirname, resolve } from "node:path";
import { isatty } from "node:tty";
import { listenForInterrupts } from "./interrupts.ts";
import { emptyFile, OutputFile, openInput, ReaderGone, writeLine } from "./output.ts";
import { Progress } from "./progress.ts";
import { type RunStats, statsText } from "./record-run.ts";

// File descriptors by number: merely touching process.stdout would make its pipe non-blocking.
export const [standardInput, standardOutput, standardError] = [0, 1, 2];

/** The files of a run, opened before the model is loaded so that a wrong path fails at once. */
export class RunFiles {
  /** A file descriptor. */
  readonly input: number;
  /** Where relative paths inside the records start. */
  readonly baseFolder: string;
  readonly #opened: OutputFile[] = [];

  /**
   * @param input a file, or - for standard input
   * @throws VlRewardError `input_unreadable`
   */
  constructor(input: string) {
    this.input = openInput(input);
    this.baseFolder = this.input === standardInput ? process.cwd() : dirname(resolve(input));
  }

  /**
   * -> a file descriptor
   *
   * @param how as OutputFile.open reads it
   * @throws VlRewardError `output_unwritable`, also for another file of this run
   */
  open(path: string, how?: "lines" | "places"): number {
    const file = OutputFile.open(path, [this.input, ...this.#opened.map(({ fd }) => fd)], how);
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
export async function runRecordCommand(input: string, command: RecordCommand): Promise<number> {
  const { done, stats, open, end = () => {} } = command;
  const files = new RunFiles(input);
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
