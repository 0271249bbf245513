/**
 * @file `vl-reward score`: flags, the files of the run, signals and exit codes. run.ts does the work.
 */

import type { Command } from "@commander-js/extra-typings";
import { beginTrace, endTrace, type TraceTarget } from "../../engine/threads/trace-file.ts";
import {
  baseFlag,
  deviceFlag,
  dtypeFlag,
  type EngineFlags,
  engineChoice,
  featureCacheFlag,
  maxPixelsFlag,
  memoryFlag,
  minPixelsFlag,
  modelFlag,
  revisionFlag,
  statsFlag,
} from "../engine-flags.ts";
import { mediaRootFlag, noNetworkFlag } from "../flags.ts";
import { runRecordCommand, standardOutput } from "../record-command.ts";
import { runScore } from "./run.ts";

const examples = `
Input: JSON Lines, one record each, in one of three shapes or those of TRL, LLaMA-Factory and ms-swift; a JSON list, parquet, and
any of them packed by gzip or zstd (docs/records.md). "-" reads standard input. Of several inputs, or
a pattern in quotes, each result has a "file".
  {"messages": [..., {"role": "assistant", "content": "..."}]}     ->  {"id", "score"}
  {"messages": [...], "responses": ["...", "..."]}                 ->  {"id", "scores", "best"}
  {"messages": [...], "chosen": "...", "rejected": "..."}          ->  {"id", "chosen", "rejected", "margin"}

Examples:
  vl-reward score examples/examples.jsonl
  vl-reward score pairs.jsonl --model Skywork/Skywork-VL-Reward-7B --dtype bfloat16 --output scores.jsonl
  vl-reward score pairs.jsonl --model ./my-reward-model --device cuda:1 --max-pixels 602112
  vl-reward score pairs.jsonl --per-token | jq '.tokens.chosen[] | "\\(.text) \\(.reward)"'
  vl-reward score pairs.jsonl --profile trace.json
  vl-reward score from-elsewhere/pairs.jsonl --media-root from-elsewhere --no-network
  vl-reward score shard-1.jsonl shard-2.jsonl --output -
  vl-reward score 'shards/**/*.jsonl' --output scores.jsonl
  cat pairs.jsonl | vl-reward score - --stats stats.json | jq .margin

Exit code: 0 all records scored, 1 some records have an error line, 2 nothing could be scored.`;

export function addScoreCommand(program: Command): void {
  program
    .command("score")
    .summary("score the answers in JSON Lines files")
    .description("Scores the answers of conversations with text, pictures and video: one result line for each record.")
    .argument("<inputs...>", "JSON Lines files, or - for standard input; paths inside are relative to their file")
    .addOption(modelFlag)
    .addOption(baseFlag)
    .addOption(revisionFlag)
    .option("--output <file>", "write results here instead of standard output, which - stands for")
    .addOption(dtypeFlag)
    .addOption(deviceFlag)
    .addOption(minPixelsFlag)
    .addOption(maxPixelsFlag)
    .addOption(mediaRootFlag)
    .addOption(noNetworkFlag)
    .addOption(memoryFlag)
    .addOption(featureCacheFlag)
    .option("--per-token", "add the reward at each token of an answer: where it falls, the answer goes wrong")
    .addOption(statsFlag)
    .option("--profile <file>", "write here what each thread does when, for ui.perfetto.dev or chrome://tracing")
    .addHelpText("after", examples)
    .action(async (inputs, flags) => {
      process.exitCode = await score(inputs, flags);
    });
}

interface ScoreFlags extends EngineFlags {
  readonly output?: string | undefined;
  readonly perToken?: boolean | undefined;
  readonly stats?: string | undefined;
  readonly profile?: string | undefined;
}

/**
 * Runs the command and returns its exit code.
 *
 * @throws VlRewardError when nothing can be scored: exit code 2
 */
function score(inputs: readonly string[], flags: ScoreFlags): Promise<number> {
  const choice = engineChoice(flags);
  let trace: TraceTarget | undefined;
  return runRecordCommand(inputs, {
    done: "scored",
    stats: flags.stats,
    open: (files) => {
      const output = files.openResults(flags.output);
      trace = flags.profile === undefined ? undefined : beginTrace(files.open(flags.profile));
      const task = {
        ...choice,
        ...(trace !== undefined && { trace }),
        inputs: files.inputs,
        perToken: flags.perToken === true,
        output,
        overwrite: output !== standardOutput,
      };
      return { output, run: (progress, signal) => runScore(task, progress, signal) };
    },
    end: () => trace && endTrace(trace),
  });
}
