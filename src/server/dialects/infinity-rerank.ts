/** @file Infinity's /rerank: Cohere's with a document that is a string, and sigmoids unless its client asks for raw scores. */

import { activation, ranked, scoresOf, shortUsageOf } from "./answers.ts";
import type { Dialect } from "./dialect.ts";
import { has, isOn, modelOf } from "./fields.ts";
import { metaOf, readDocuments, wordsOf } from "./rerank.ts";

export const infinityRerank: Dialect = {
  name: "infinity-rerank",
  title: "Infinity /rerank",
  paths: ["/rerank", "/v1/rerank"],
  shape: '{"query": string, "documents": [string, ...], "raw_scores": true | false, "return_documents"?, "top_n"?}',
  example: {
    query: "Which number is the largest: 187, 339, 243, 5?",
    documents: ["It is 339.", "It is 243."],
    raw_scores: true,
  },
  detects: (body) => has(body, "raw_scores") && has(body, "documents"),
  read: (body) => {
    const { query, answers, most } = readDocuments(body);
    const activate = activation(!isOn(body, "raw_scores"));
    const returnsDocuments = isOn(body, "return_documents");
    return {
      tasks: [{ prompt: [query], answers }],
      model: modelOf(body),
      answer: (results, { id, created, model }) => ({
        id: `rerank-${id}`,
        created,
        model,
        usage: shortUsageOf(results),
        results: ranked(scoresOf(results), most).map(({ index, score }) => ({
          index,
          relevance_score: activate(score),
          ...(returnsDocuments && { document: answers[index] ? wordsOf(answers[index]) : "" }),
        })),
        meta: metaOf(results),
      }),
    };
  },
};
