/** @file `vl-reward embed`: flags and the files of the run. run.ts does the work. */
import { type Command, Option } from "@commander-js/extra-typings";
import type { Precision } from "../../data/embedding.ts";
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
import { type RunFiles, runRecordCommand, standardOutput } from "../record-command.ts";
import { type EmbedOutput, runEmbed } from "./run.ts";

const examples = `
Input: the records of \`score\`, from files and patterns or standard input ("-"). With --of prompt they may also end with a user turn.
  {"messages": [..., {"role": "assistant", "content": "..."}]}     ->  {"id", "embedding"}
  {"messages": [...], "responses": ["...", "..."]}                 ->  {"id", "embeddings"}
  {"messages": [...], "chosen": "...", "rejected": "..."}          ->  {"id", "chosen", "rejected"}
  any of these, and {"messages": [...]}, with --of prompt          ->  {"id", "embedding"}

Output: JSON Lines. A file that ends in .npy becomes NumPy's matrix of all embeddings, and beside it FILE.npy.jsonl says of
each row whose it is: {"row", "id"}, with the answer's index where there are several.

Examples:
  vl-reward embed examples/records.jsonl --output embeddings.npy
  vl-reward embed pairs.jsonl --of prompt --normalize --precision float16 --output prompts.npy
  vl-reward embed pairs.jsonl --of answer --pool last --model Skywork/Skywork-VL-Reward-7B --dtype bfloat16 --output answers.jsonl
  cat pairs.jsonl | vl-reward embed - --of prompt | jq -c .embedding

Exit code: 0 all records embedded, 1 some records have an error line, 2 nothing could be embedded.`;

export function addEmbedCommand(program: Command): void {
  program
    .command("embed")
    .summary("turn the prompts or answers of JSON Lines files into vectors")
    .description(
      "Embeds conversations with text, pictures and video: what the reward model's last layer makes of their tokens, as one vector.",
    )
    .argument("<inputs...>", "JSON Lines files, or - for standard input; paths inside are relative to their file")
    .addOption(
      new Option("--of <part>", "what a vector stands for")
        .choices(["prompt", "answer", "conversation"] as const)
        .default("conversation" as const),
    )
    .addOption(
      new Option("--pool <how>", "the mean over its tokens, or the last one")
        .choices(["mean", "last"] as const)
        .default("mean" as const),
    )
    .option("--normalize", "scale every vector to length 1")
    .addOption(
      new Option("--precision <type>", "of the numbers written")
        .choices(["float32", "float16"] as const)
        .default("float32" as const),
    )
    .option("--output <file>", "write here instead of standard output: a matrix to FILE.npy, else JSON Lines")
    .addOption(modelFlag)
    .addOption(baseFlag)
    .addOption(revisionFlag)
    .addOption(dtypeFlag)
    .addOption(deviceFlag)
    .addOption(minPixelsFlag)
    .addOption(maxPixelsFlag)
    .addOption(mediaRootFlag)
    .addOption(noNetworkFlag)
    .addOption(memoryFlag)
    .addOption(featureCacheFlag)
    .addOption(statsFlag)
    .addHelpText("after", examples)
    .action(async (inputs, flags) => {
      process.exitCode = await embed(inputs, flags);
    });
}

interface EmbedFlags extends EngineFlags {
  readonly of: "prompt" | "answer" | "conversation";
  readonly pool: "mean" | "last";
  readonly normalize?: boolean | undefined;
  readonly precision: Precision;
  readonly output?: string | undefined;
  readonly stats?: string | undefined;
}

/**
 * Runs the command and returns its exit code.
 *
 * @throws VlRewardError when nothing can be embedded: exit code 2
 */
function embed(inputs: readonly string[], flags: EmbedFlags): Promise<number> {
  const choice = engineChoice(flags);
  const { of: over, pool: how, normalize: normalise = false, precision } = flags;
  return runRecordCommand(inputs, {
    done: "embedded",
    stats: flags.stats,
    open: (files) => {
      const to = openOutput(files, flags.output);
      const embedding = { over, how, normalise, precision };
      const task = { ...choice, inputs: files.inputs, embedding, to };
      return { output: to.output, run: (progress, signal) => runEmbed(task, progress, signal) };
    },
  });
}

function openOutput(files: RunFiles, path: string | undefined): EmbedOutput {
  if (path === undefined || !path.endsWith(".npy")) {
    const output = files.openResults(path);
    return { kind: "lines", output, overwrite: output !== standardOutput };
  }
  return { kind: "matrix", output: files.open(path, "places"), path, rows: files.open(`${path}.jsonl`) };
}
