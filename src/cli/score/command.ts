/**
 * @file `vl-reward score`: flags, the files of the run, signals and exit codes. run.ts does the work.
 */

import { dirname, resolve } from "node:path";
import { isatty } from "node:tty";
import { type Command, Option } from "@commander-js/extra-typings";
import { memoryBudget } from "../../engine/machine/memory.ts";
import { beginTrace, endTrace, type TraceTarget } from "../../engine/threads/trace-file.ts";
import { VlRewardError } from "../../errors.ts";
import { mediaPolicyOf, mediaRootFlag, noNetworkFlag, readCount, readDevices } from "../flags.ts";
import { Interrupted, listenForInterrupts } from "../interrupts.ts";
import { emptyFile, OutputFile, openInput, ReaderGone, writeLine } from "../output.ts";
import { Progress } from "../progress.ts";
import { type RunStats, runScore } from "./run.ts";

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
  vl-reward score pairs.jsonl --per-token | jq '.tokens.chosen[] | "(.text) (.reward)"'
  vl-reward score pairs.jsonl --profile trace.json
  vl-reward score from-elsewhere/pairs.jsonl --media-root from-elsewhere --no-network
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
      new Option("--dtype <type>", "precision to compute in; auto takes what is faster here")
        .choices(["auto", "float32", "bfloat16"] as const)
        .default("float32" as const),
    )
    .option("--device <device>", "auto, cpu, cuda, cuda:N, or several: cuda:0,cuda:1", readDevices, "auto")
    .option("--min-pixels <n>", "enlarge pictures with fewer pixels", readCount)
    .option("--max-pixels <n>", "reduce pictures with more pixels", readCount)
    .addOption(mediaRootFlag)
    .addOption(noNetworkFlag)
    .option("--memory <amount>", "what the run may hold, such as 16GB (default: most of what is free)")
    .option("--feature-cache <folder>", "keep what was seen in pictures here, for later runs")
    .option("--per-token", "add the reward at each token of an answer: where it falls, the answer goes wrong")
    .option("--stats <file>", "write counts, times and memory here as JSON")
    .option("--profile <file>", "write here what each thread does when, for ui.perfetto.dev or chrome://tracing")
    .addHelpText("after", examples)
    .action(async (input, flags) => {
      process.exitCode = await score(input, flags);
    });
}

interface ScoreFlags {
  readonly model: string;
  readonly revision?: string | undefined;
  readonly output?: string | undefined;
  readonly dtype: "auto" | "float32" | "bfloat16";
  readonly device: string;
  readonly minPixels?: number | undefined;
  readonly maxPixels?: number | undefined;
  readonly mediaRoot?: string | undefined;
  readonly network: boolean;
  readonly memory?: string | undefined;
  readonly featureCache?: string | undefined;
  readonly perToken?: boolean | undefined;
  readonly stats?: string | undefined;
  readonly profile?: string | undefined;
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
  const memory = flags.memory === undefined ? undefined : memoryBudget(flags.memory);
  const inputFile = openInput(input);
  const opened: OutputFile[] = [];
  const open = (path: string) => {
    const file = OutputFile.open(path, [inputFile, ...opened.map(({ fd }) => fd)]);
    opened.push(file);
    return file.fd;
  };
  let progress: Progress | undefined;
  let trace: TraceTarget | undefined;
  const endProfile = () => trace && endTrace(trace);
  try {
    const output = flags.output === undefined ? standardOutput : open(flags.output);
    const stats = flags.stats === undefined ? undefined : open(flags.stats);
    trace = flags.profile === undefined ? undefined : beginTrace(open(flags.profile));
    const task = {
      model: flags.model,
      revision: flags.revision,
      dtype: flags.dtype,
      device: flags.device,
      ...(memory !== undefined && { memory }),
      ...(trace !== undefined && { trace }),
      ...(flags.featureCache !== undefined && { featureFolder: flags.featureCache }),
      pixelLimits: { ...(minPixels && { minPixels }), ...(maxPixels && { maxPixels }) },
      media: mediaPolicyOf(flags),
      input: inputFile,
      baseFolder: inputFile === standardInput ? process.cwd() : dirname(resolve(input)),
      perToken: flags.perToken === true,
      output,
      overwrite: output !== standardOutput,
    };
    progress = new Progress(isatty(standardError) && !isatty(output));
    const run = await runScore(task, progress, listenForInterrupts(endProfile));
    endProfile();
    if (stats !== undefined) {
      emptyFile(stats);
      await writeLine(stats, statsText(run));
    }
    return run.failed > 0 ? 1 : 0;
  } catch (error) {
    progress?.clear();
    endProfile();
    if (error instanceof ReaderGone) return 0;
    if (!(error instanceof Interrupted)) for (const file of opened) file.discardEmpty();
    throw error;
  }
}

function statsText({ seconds, caches, devices, ...counts }: RunStats): string {
  const peak = process.resourceUsage().maxRSS / 1024; // KiB to MiB
  const rounded = (value: number) => Number(value.toFixed(3));
  const times = Object.entries({ ...seconds, total: performance.now() / 1000 });
  const stats = {
    ...counts,
    seconds: Object.fromEntries(times.map(([name, value]) => [name, rounded(value)])),
    peak_rss_mb: Number(peak.toFixed(1)),
    caches,
    devices: devices.map(({ device, sequences, tokens, computeSeconds }) => ({
      device,
      sequences,
      tokens,
      seconds: rounded(computeSeconds),
    })),
  };
  return `${JSON.stringify(stats, null, 2)}\n`;
}
