/** @file What language modelling needs beside the reward model: the language model's own head, and where answers begin. */

import path from "node:path";
import { z } from "zod";
import { listTensors } from "../../checkpoint/checkpoint.ts";
import { readJson } from "../../files/json.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import { Parameter, type Placement } from "../../nn/index.ts";
import { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { mapFile, type Tensor } from "../../torch/index.ts";
import type { AnswerTokens } from "./language-loss.ts";

/** The tokenizer's view of an answer: "assistant" and a line's end before it, <|im_end|> behind. */
export async function answerTokensOf(modelFolder: string): Promise<AnswerTokens> {
  const tokenizer = await Tokenizer.load(modelFolder);
  const header = tokenizer.encodeText("assistant\n").length;
  return { header, end: tokenizer.controlTokens.get("<|im_end|>") ?? -1 };
}

/** The embedding where the two are tied; else the checkpoint's own, which is not trained. */
export function languageHeadOf(model: RewardModel, folder: string, place: Placement): Tensor {
  const embedding = model.backbone.model.embedTokens.weight.stored;
  const file = path.join(folder, "config.json");
  const { tie_word_embeddings: tied } = z
    .looseObject({ tie_word_embeddings: z.boolean().optional() })
    .parse(readJson(file));
  const stored = tied === true ? undefined : listTensors(folder).get("lm_head.weight");
  if (!stored) return embedding;
  const head = new Parameter(stored.shape);
  const [mapped] = mapFile(stored.file, [stored]);
  if (mapped) head.assign(mapped, place);
  return head.stored;
}
