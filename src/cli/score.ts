/**
 * @file `vl-reward score`: flags, the files of the run, signals and progress. The work is done in score-thread.ts.
 */

import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { dirname, resolve } from "node:path";
import { isatty } from "node:tty";
import { Worker } from "node:worker_threads";
import { type Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { VlRewardError } from "../errors.ts";
import { emptyFile, OutputFile, openInput, unreadable, writeLine } from "./output.ts";
import { Progress } from "./progress.ts";
import type { RunStats, ScoreTask, ThreadMessage } from "./score-thread.ts";

// File descriptors by number: merely touching process.stdout would make its pipe non-blocking.
const [standardInput, standardOutput, standardError] = [0, 1, 2];

const examples = `
Input: JSON Lines, one record each, in one of three shapes; "-" reads standard input.
  {"messages": [..., {"role": "assistant", "content": "..."}]}     ->  {"id", "score"}
  {"messages": [...], "responses": ["...", "..."]}                 ->  {"id", "scores", "best"}
  {"messages": [...], "chosen": "...", "rejected": "..."}          ->  {"id", "chosen", "rejected", "margin"}

Examples:
  vl-reward score examples/examples.jsonl
  vl-reward score pairs.jsonl --model Skywork/Skywork-VL-Reward-7B --dtype bfloat16 --output scores.jsonl
  vl-reward score pairs.jsonl --model ./my-reward-model --device cuda:1 --max-pixels 602112
  cat pairs.jsonl | vl-reward score - --stats stats.json | jq .margin

Exit code: 0 all records scored, 1 some records have an error line, 2 nothing could be scored.`;

export function addScoreCommand(program: Command): void {
  program
    .command("score")
    .summary("score the answers in a JSON Lines file")
    .description("Scores the answers of conversations with text, pictures and video: one result line for each record.")
    .argument("<input>", "JSON Lines file, or - for standard input; paths inside are relative to the file")
    .option("--model <model>", "folder, hub id (org/name or org/name@revision), or tiny, the embedded model", "tiny")
    .option("--revision <revision>", "branch, tag or commit of a hub model")
    .option("--output <file>", "write results here instead of standard output")
    .addOption(
      new Option("--dtype <type>", "precision to compute in")
        .choices(["float32", "bfloat16"] as const)
        .default("float32" as const),
    )
    .option("--device <device>", "auto, cpu, cuda or cuda:N", readDevice, "auto")
    .option("--min-pixels <n>", "enlarge pictures with fewer pixels", readCount)
    .option("--max-pixels <n>", "reduce pictures with more pixels", readCount)
    .option("--stats <file>", "write counts, times and memory here as JSON")
    .addHelpText("after", examples)
    .action(async (input, flags) => {
      process.exitCode = await score(input, flags);
    });
}

interface ScoreFlags {
  readonly model: string;
  readonly revision?: string | undefined;
  readonly output?: string | undefined;
  readonly dtype: "float32" | "bfloat16";
  readonly device: string;
  readonly minPixels?: number | undefined;
  readonly maxPixels?: number | undefined;
  readonly stats?: string | undefined;
}

/**
 * Runs the command and returns its exit code.
 *
 * @throws VlRewardError when nothing can be scored: exit code 2
 */
async function score(input: string, flags: ScoreFlags): Promise<number> {
  const { minPixels, maxPixels } = flags;
  if (minPixels !== undefined && maxPixels !== undefined && minPixels > maxPixels) {
    throw new VlRewardError("usage", `--min-pixels ${minPixels} is larger than --max-pixels ${maxPixels}.`);
  }
  const inputFile = openInput(input);
  const opened: OutputFile[] = [];
  const open = (path: string) => {
    const file = OutputFile.open(path, [inputFile, ...opened.map(({ fd }) => fd)]);
    opened.push(file);
    return file.fd;
  };
  try {
    const output = flags.output === undefined ? undefined : open(flags.output);
    const stats = flags.stats === undefined ? undefined : open(flags.stats);
    const run = await inThread(
      {
        model: flags.model,
        revision: flags.revision,
        dtype: flags.dtype,
        device: flags.device,
        pixelLimits: { ...(minPixels && { minPixels }), ...(maxPixels && { maxPixels }) },
        input: inputFile,
        baseFolder: inputFile === standardInput ? process.cwd() : dirname(resolve(input)),
        output: output ?? standardOutput,
        overwrite: output !== undefined,
      },
      fstatSync(inputFile).size,
    );
    if (run === "readerGone") return 0;
    if (stats !== undefined) {
      emptyFile(stats);
      writeLine(stats, statsText(run));
    }
    return run.failed > 0 ? 1 : 0;
  } catch (error) {
    for (const file of opened) file.discardEmpty();
    throw error;
  }
}

/** @param inputSize bytes; 0 when unknown, as for a pipe */
async function inThread(task: ScoreTask, inputSize: number): Promise<RunStats | "readerGone"> {
  const progress = new Progress(isatty(standardError) && !isatty(task.output));
  const readsStdin = task.input === standardInput;
  const thread = new Worker(new URL("./score-thread.js", import.meta.url), { workerData: task, stdin: readsStdin });
  const release = onInterrupt(thread, progress);

  try {
    return await new Promise((resolve, reject) => {
      thread.on("message", (message: ThreadMessage) => {
        switch (message.kind) {
          case "say":
            return progress.say(message.line);
          case "download":
            return progress.download(message.done, message.total);
          case "loaded":
            return progress.begin();
          case "progress":
            return progress.update({ ...message, share: inputSize > 0 ? message.bytes / inputSize : undefined });
          case "done":
            progress.end({ ...message.stats, share: 1 });
            return resolve(message.stats);
          case "readerGone":
            progress.clear();
            return resolve("readerGone");
          case "failed":
            progress.clear();
            return reject(new VlRewardError(message.code, message.message));
        }
      });
      thread.on("error", reject);
      if (readsStdin && thread.stdin !== null) {
        process.stdin.on("error", (cause) => reject(unreadable(cause))).pipe(thread.stdin);
      }
      thread.on("exit", (code) => reject(new Error(`the scoring thread ended early, with code ${code}`)));
    });
  } finally {
    release();
  }
}

/**
 * Ends the process on Ctrl-C with 128 + the signal's number. The thread is stopped between two of its steps, so that
 * the output ends with a whole line; if a step lasts long, or the output's reader has stopped reading, the signal's
 * own way ends the process, as a second Ctrl-C does.
 *
 * @returns a function that gives the signals back
 */
function onInterrupt(thread: Worker, progress: Progress): () => void {
  const patience = 2000; // milliseconds
  const handlers = (["SIGINT", "SIGTERM"] as const).map((signal) => {
    const stop = () => {
      progress.clear();
      thread.removeAllListeners("exit");
      setTimeout(() => process.kill(process.pid, signal), patience);
      void thread.terminate().then(() => process.exit(128 + constants.signals[signal]));
    };
    process.once(signal, stop);
    return () => process.off(signal, stop);
  });
  return () => {
    for (const release of handlers) release();
  };
}

function statsText({ seconds, ...counts }: RunStats): string {
  const peak = process.resourceUsage().maxRSS / 1024; // KiB to MiB
  const rounded = Object.entries({ ...seconds, total: performance.now() / 1000 }).map(([name, value]) => [
    name,
    Number(value.toFixed(3)),
  ]);
  const stats = { ...counts, seconds: Object.fromEntries(rounded), peak_rss_mb: Number(peak.toFixed(1)) };
  return `${JSON.stringify(stats, null, 2)}\n`;
}

function readCount(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new InvalidArgumentError("Expected a positive whole number.");
}

function readDevice(text: string): string {
  if (/^(auto|cpu|cuda(:\d+)?)$/.test(text)) return text;
  throw new InvalidArgumentError("Expected auto, cpu, cuda or cuda:N.");
}
