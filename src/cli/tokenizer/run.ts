/**
 * @file A run of `tokenizer train`: texts read, the vocabulary learnt, files written, and the ids told that a model's
 * config.json has to name. The flags are command.ts's.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { readRecordTexts } from "../../data/record-texts.ts";
import { VlRewardError } from "../../errors.ts";
import { parseJsonFile } from "../../tokenizer/config-file.ts";
import { saveTokenizer, trainTokenizer } from "../../tokenizer/train.ts";
import { embeddedModel } from "../embedded-model.ts";
import { linesIn } from "../input-lines.ts";
import { findInputs } from "../inputs.ts";

export interface TokenizerRun {
  readonly vocabSize: number;
  readonly out: string;
  readonly special: readonly string[];
}

/** @throws VlRewardError `input_unreadable`, `output_unwritable`, the code of a bad record, and what trainTokenizer throws */
export async function makeTokenizer(
  inputs: readonly string[],
  { vocabSize, out, special }: TokenizerRun,
): Promise<void> {
  const tokenizer = await trainTokenizer(textsOf(inputs), vocabSize, special);
  await saveTokenizer(out, tokenizer, await qwenChatTemplate()).catch((cause: unknown) => {
    throw new VlRewardError("output_unwritable", `${out} cannot be written: ${reason(cause)}.`, { cause });
  });
  const idOf = (token: string): number | undefined =>
    tokenizer.added_tokens.find(({ content }) => content === token)?.id;
  const ids = {
    vocab_size: vocabSize,
    bos_token_id: idOf("<|endoftext|>"),
    eos_token_id: idOf("<|im_end|>"),
    vision_start_token_id: idOf("<|vision_start|>"),
    vision_end_token_id: idOf("<|vision_end|>"),
    vision_token_id: idOf("<|vision_pad|>"),
    image_token_id: idOf("<|image_pad|>"),
    video_token_id: idOf("<|video_pad|>"),
  };
  process.stdout.write(`${JSON.stringify(ids, null, 2)}\n`);
  process.stderr.write(`${out} has the tokenizer; a config.json beside it has to have the values above.\n`);
}

async function* textsOf(inputs: readonly string[]): AsyncGenerator<string> {
  for (const input of inputs) {
    if (/\.(jsonl?|parquet)(\.gz|\.zst)?$/.test(input)) yield* recordTexts(input);
    else yield await wholeText(input);
  }
}

async function* recordTexts(file: string): AsyncGenerator<string> {
  for (const input of findInputs([file])) {
    for await (const { number, content } of linesIn(input)) {
      const read = typeof content === "string" ? readRecordTexts(content, number) : { error: content };
      if ("error" in read) throw new VlRewardError(read.error.code, `${file}:${number + 1}: ${read.error.message}`);
      yield* read.value;
    }
  }
}

async function wholeText(file: string): Promise<string> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

/** The one that the embedded model ships with, which is Qwen2.5-VL's. */
async function qwenChatTemplate(): Promise<string> {
  const file = join(embeddedModel, "chat_template.json");
  return parseJsonFile(file, await readFile(file, "utf8"), z.object({ chat_template: z.string() })).chat_template;
}

const unreadable = (file: string, cause: unknown): VlRewardError =>
  new VlRewardError("input_unreadable", `The input ${file} cannot be read: ${reason(cause)}.`, { cause });

const reason = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
