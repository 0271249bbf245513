/** @file What rerankers have in common: documents that are answers to one query, the best of them first. */

import { z } from "zod";
import type { Message } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { tokensOf } from "./answers.ts";
import { readSide } from "./conversations.ts";
import type { Body, Scored } from "./dialect.ts";
import { count, invalid, optional, read } from "./fields.ts";

const list = z.array(z.unknown(), "a list of documents");

export interface Documents {
  readonly query: Message;
  readonly answers: readonly Message[];
  /** As they came. */
  readonly documents: readonly unknown[];
  /** How many are wanted; all where undefined. */
  readonly most: number | undefined;
}

/** @param key of the documents */
export function readDocuments(body: Body, key: "documents" | "texts" = "documents"): Documents {
  const documents = read(list, body[key], [key]);
  if (documents.length === 0) throw new VlRewardError("empty_candidates", `${key}: the list is empty`);
  if (body.query === undefined || body.query === null) throw invalid("query: expected a question, found nothing");
  return {
    query: readSide(body.query, "user", ["query"]),
    answers: documents.map((document, index) => readSide(document, "assistant", [key, index])),
    documents,
    most: optional(count, body, "top_n") || undefined,
  };
}

/** What Cohere's clients read beside the results; the AI SDK refuses an answer without it. */
export const metaOf = (results: readonly Scored[]) => ({
  api_version: { version: "2" },
  billed_units: { search_units: 1 },
  tokens: { input_tokens: tokensOf(results), output_tokens: 0 },
});

/** The words of a document, for clients that want one string. */
export const wordsOf = ({ content }: Message): string =>
  typeof content === "string" ? content : content.map((part) => (part.type === "text" ? part.text : "")).join("");
