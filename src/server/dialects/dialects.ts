/**
 * @file All dialects, in the order in which those of one path are asked whether a body is theirs. The body alone decides; one that
 * fits two is taken by the first. A new dialect is a file of this folder and a line here.
 */

import { quote } from "../../errors.ts";
import { alignAnything } from "./align-anything.ts";
import { cohereRerank } from "./cohere-rerank.ts";
import type { Body, Dialect } from "./dialect.ts";
import { invalid } from "./fields.ts";
import { infinityClassify } from "./infinity-classify.ts";
import { infinityRerank } from "./infinity-rerank.ts";
import { lightrft } from "./lightrft.ts";
import { llamafactory } from "./llamafactory.ts";
import { openaiChat } from "./openai-chat.ts";
import { openaiEmbeddings } from "./openai-embeddings.ts";
import { openrlhf } from "./openrlhf.ts";
import { sglangClassify } from "./sglang-classify.ts";
import { sglangRerank } from "./sglang-rerank.ts";
import { sglangScore } from "./sglang-score.ts";
import { slime } from "./slime.ts";
import { teiPredict } from "./tei-predict.ts";
import { teiRerank } from "./tei-rerank.ts";
import { vllmClassify } from "./vllm-classify.ts";
import { vllmPooling } from "./vllm-pooling.ts";
import { vllmScore } from "./vllm-score.ts";

export const dialects: readonly Dialect[] = [
  openrlhf,
  lightrft,
  alignAnything,
  slime,
  llamafactory,
  sglangClassify,
  infinityClassify,
  vllmClassify,
  vllmPooling,
  sglangScore,
  vllmScore,
  teiRerank,
  infinityRerank,
  sglangRerank,
  cohereRerank,
  teiPredict,
  openaiEmbeddings,
  openaiChat,
];

/** Those that answer on a path, in the order in which they are asked. */
export const dialectsOf = (path: string): readonly Dialect[] => dialects.filter(({ paths }) => paths.includes(path));

/** How errors are written for a body on a path that is nobody's: as all of its dialects do it, or for everybody. */
export function errorStyleOf(path: string): NonNullable<Dialect["errors"]> {
  const styles = new Set(dialectsOf(path).map(({ errors = "openai" }) => errors));
  const [only = "openai"] = styles;
  return styles.size === 1 ? only : "openai";
}

/** @throws VlRewardError `invalid_request` with the shapes of the path, for a body that none of its dialects knows */
export function dialectFor(path: string, body: Body): Dialect {
  const all = dialectsOf(path);
  const found = all.find((dialect) => dialect.detects(body, path));
  if (found) return found;
  const keys = Object.keys(body).slice(0, 20).map(quote).join(", ");
  const shapes = all.map(({ title, shape }) => `${shape} (${title})`).join("; or ");
  throw invalid(`the body has ${keys || "no key"}; ${path} expects ${shapes}`);
}
