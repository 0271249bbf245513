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
    .addOption(modelFlag)
    .addOption(baseFlag)
    .addOption(revisionFlag)
    .option("--output <file>", "write results here instead of standard output")
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
    .action(async (input, flags) => {
      process.exitCode = await score(input, flags);
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
function score(input: string, flags: ScoreFlags): Promise<number> {
  const choice = engineChoice(flags);
  let trace: TraceTarget | undefined;
  return runRecordCommand(input, {
    done: "scored",
    stats: flags.stats,
    open: (files) => {
      const output = flags.output === undefined ? standardOutput : files.open(flags.output);
      trace = flags.profile === undefined ? undefined : beginTrace(files.open(flags.profile));
      const task = {
        ...choice,
        ...(trace !== undefined && { trace }),
        input: files.input,
        baseFolder: files.baseFolder,
        perToken: flags.perToken === true,
        output,
        overwrite: output !== standardOutput,
      };
      return { output, run: (progress, signal) => runScore(task, progress, signal) };
    },
    end: () => trace && endTrace(trace),
  });
}
