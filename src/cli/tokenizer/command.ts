/**
 * @file `vl-reward tokenizer train`: the flags. run.ts does the work.
 */

import type { Command } from "@commander-js/extra-typings";
import { readCount } from "../flags.ts";

const examples = `
Examples:
  vl-reward tokenizer train books.txt pairs.jsonl --vocab-size 4096 --out my-model
  vl-reward tokenizer train pairs.jsonl --vocab-size 4096 --special "<|think|>" "<|/think|>" --out my-model`;

export function addTokenizerCommand(program: Command): void {
  program
    .command("tokenizer")
    .summary("make a tokenizer for a model that is trained from nothing")
    .command("train")
    .summary("learn a vocabulary from texts")
    .description(
      "Learns a byte-level BPE vocabulary with Qwen2.5-VL's split rule, control tokens and chat template, and writes it as " +
        "vl-reward and transformers read it. Equal inputs give equal files.",
    )
    .argument("<inputs...>", "texts in UTF-8; from a file that ends in .jsonl, turns and answers of its records")
    .requiredOption("--vocab-size <n>", "tokens altogether: 256 bytes, what is learnt, 22 of Qwen's, yours", readCount)
    .requiredOption("--out <folder>", "where tokenizer.json and the other files go")
    .option("--special <tokens...>", "further control tokens, after Qwen's")
    .addHelpText("after", examples)
    .action(async (inputs, flags) => {
      const { makeTokenizer } = await import("./run.ts");
      await makeTokenizer(inputs, { vocabSize: flags.vocabSize, out: flags.out, special: flags.special ?? [] });
    });
}
