/** @file text-embeddings-inference's /rerank, whose scores are sigmoids unless its client asks for raw ones. */

import { z } from "zod";
import { activation, ranked, scoresOf } from "./answers.ts";
import type { Body, Dialect } from "./dialect.ts";
import { flag, has, isOn, modelOf, optional, read, texts } from "./fields.ts";
import { readDocuments, wordsOf } from "./rerank.ts";

export const teiRerank: Dialect = {
  name: "tei-rerank",
  title: "text-embeddings-inference /rerank",
  paths: ["/rerank", "/v1/rerank"],
  errors: "text-embeddings-inference",
  shape: '{"query": string, "texts": [string, ...], "raw_scores"?, "return_text"?}',
  example: {
    query: "Which number is the largest: 187, 339, 243, 5?",
    texts: ["It is 339.", "It is 243."],
    raw_scores: true,
  },
  detects: (body) => has(body, "texts"),
  read: (body) => {
    assertTruncation(body);
    read(texts, body.texts, ["texts"]);
    const { query, answers } = readDocuments(body, "texts");
    const activate = activation(!isOn(body, "raw_scores"));
    const returnsText = isOn(body, "return_text");
    return {
      tasks: [{ prompt: [query], answers }],
      model: modelOf(body),
      answer: (results) =>
        ranked(scoresOf(results)).map(({ index, score }) => ({
          index,
          score: activate(score),
          ...(returnsText && { text: answers[index] ? wordsOf(answers[index]) : "" }),
        })),
    };
  },
};

const directions = ["left", "right", "Left", "Right"] as const;

/** What is longer than the model takes is refused whether it may be cut or not; the fields are checked, and change nothing. */
export function assertTruncation(body: Body): void {
  optional(flag, body, "truncate");
  optional(z.enum(directions, '"left" or "right"'), body, "truncation_direction");
}
