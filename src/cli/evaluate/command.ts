/**
 * @file `vl-reward evaluate`: the benchmarks, a subcommand each, and their flags. run.ts does the work.
 */

import { type Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { readCount, readDevices, readSeed, readSize } from "../flags.ts";
import { listenForInterrupts } from "../interrupts.ts";

const examples = `
Examples:
  vl-reward evaluate synthetic
  vl-reward evaluate synthetic --model runs/mine --questions 200 --output evaluation.json
  vl-reward evaluate synthetic --control build/runs/tiny-blind --output evaluation.json --card README.md`;

export function addEvaluateCommand(program: Command): void {
  const evaluate = program.command("evaluate").summary("measure a model on a benchmark");
  evaluate
    .command("synthetic")
    .summary("documents made up from a seed, as `synth` writes them")
    .description(
      "Measures how often a model scores right answers higher than wrong ones, on documents that are made up from a seed and " +
        "that training never has: by category, by size of the picture, on combinations of colour and shape kept from training.",
    )
    .option("--model <model>", "folder, hub id, or tiny, the embedded model", "tiny")
    .option("--control <folder>", "a model trained on blank pictures, which shows what the texts alone give away")
    .option("--questions <n>", "of each category", readCount, 1000)
    .option("--control-questions <n>", "of each category, for the control", readCount, 4000)
    .option("--size-questions <n>", "of each category and size", readCount, 400)
    .option(
      "--sizes <pixels>",
      "sides of the pictures; the first is that of all other figures",
      readSizes,
      [112, 168, 224],
    )
    .option("--seed <n>", "a whole number; other seeds give other documents", readSeed, 20_261_127)
    .option("--output <file>", "write the result here instead of standard output, which - stands for")
    .option("--card <file>", "write a page in Markdown about it, a model's README.md")
    .addOption(
      new Option("--dtype <type>", "precision to compute in; auto takes what is faster here")
        .choices(["auto", "float32", "bfloat16"] as const)
        .default("float32" as const),
    )
    .option("--device <device>", "auto, cpu, cuda, cuda:N, or several: cuda:0,cuda:1", readDevices, "auto")
    .addHelpText("after", examples)
    .action(async (flags) => {
      const { evaluateSynthetic } = await import("./run.ts");
      const output = flags.output === "-" ? undefined : flags.output;
      await evaluateSynthetic({ ...flags, output }, listenForInterrupts());
    });
}

function readSizes(text: string): number[] {
  const sizes = text.split(",").map(readSize);
  if (new Set(sizes).size === sizes.length) return sizes;
  throw new InvalidArgumentError("Expected every size once.");
}
