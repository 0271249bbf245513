/**
 * @file The language model's own head, for whoever asks of a model what it would say: a reward does without it. And where,
 * in a conversation's tokens, an answer's own begin.
 */

import path from "node:path";
import { listTensors } from "../../checkpoint/checkpoint.ts";
import { readJson } from "../../files/json.ts";
import { Parameter, type Placement } from "../../nn/index.ts";
import { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { bytesPerElement, mapFile, type Tensor } from "../../torch/index.ts";

/** What makes a number for each token of the vocabulary of a hidden state. */
export interface LanguageHead {
  readonly weight: Tensor; // [vocabulary, hidden]
  /** What it takes beside the model. */
  readonly bytes: number;
  dispose(): void;
}

/** Where an answer's own tokens begin and end in its branch. */
export interface AnswerTokens {
  /** Tokens before the answer: the role and its line's end. */
  readonly header: number;
  /** The token that ends a turn; the answer's last one. */
  readonly end: number;
}

/** The tokenizer's view of an answer: "assistant" and a line's end before it, <|im_end|> behind. */
export async function answerTokensOf(modelFolder: string): Promise<AnswerTokens> {
  const tokenizer = await Tokenizer.load(modelFolder);
  const header = tokenizer.encodeText("assistant\n").length;
  return { header, end: tokenizer.controlTokens.get("<|im_end|>") ?? -1 };
}

/**
 * The embedding where the two are tied, which takes nothing more; else the checkpoint's own head, which is not trained.
 *
 * @param embedding the model's, of the tokens [vocabulary, hidden]
 */
export function languageHeadOf(embedding: Tensor, folder: string, place: Placement): LanguageHead {
  const tied = tiesEmbeddings(readJson(path.join(folder, "config.json")));
  const stored = tied ? undefined : listTensors(folder).get("lm_head.weight");
  if (!stored) return { weight: embedding, bytes: 0, dispose: () => {} };
  const head = new Parameter(stored.shape);
  const [mapped] = mapFile(stored.file, [stored]);
  if (mapped) head.assign(mapped, place);
  const weight = head.stored;
  return { weight, bytes: weight.elements * bytesPerElement(weight.dtype), dispose: () => head.dispose() };
}

/** Whether a config.json says so, at the top or, as transformers 5 writes it, under `text_config`. */
export function tiesEmbeddings(config: unknown): boolean {
  if (typeof config !== "object" || config === null) return false;
  if ("tie_word_embeddings" in config) return config.tie_word_embeddings === true;
  return "text_config" in config && tiesEmbeddings(config.text_config);
}
