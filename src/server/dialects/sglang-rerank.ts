/** @file SGLang's /v1/rerank, known by its `instruct` alone: without it a body is answered as Cohere's. */

import { z } from "zod";
import { text } from "../../data/parts.ts";
import { ranked, scoresOf } from "./answers.ts";
import { withInstruction } from "./conversations.ts";
import type { Dialect } from "./dialect.ts";
import { flag, has, modelOf, optional } from "./fields.ts";
import { readDocuments, wordsOf } from "./rerank.ts";

export const sglangRerank: Dialect = {
  name: "sglang-rerank",
  title: "SGLang /v1/rerank with instruct",
  paths: ["/v1/rerank"],
  methods: ["POST", "PUT"],
  errors: "sglang",
  shape:
    '{"query": string | [part, ...], "documents": [string | [part, ...], ...], "instruct": string, "top_n"?, "return_documents"?}',
  example: {
    query: "Which number is the largest: 187, 339, 243, 5?",
    documents: ["It is 243.", "It is 339."],
    instruct: "You are a careful calculator.",
  },
  detects: (body) => has(body, "instruct") && has(body, "documents"),
  read: (body) => {
    optional(z.int("a positive whole number").positive("a positive whole number"), body, "top_n");
    const { query, answers, most } = readDocuments(body);
    const returnsDocuments = optional(flag, body, "return_documents") ?? true;
    return {
      tasks: [{ prompt: withInstruction(optional(text, body, "instruct"), [query]), answers }],
      model: modelOf(body),
      answer: (results, { id }) =>
        ranked(scoresOf(results), most).map(({ index, score }) => ({
          score,
          ...(returnsDocuments && { document: answers[index] ? wordsOf(answers[index]) : "" }),
          index,
          meta_info: { id },
        })),
    };
  },
};
