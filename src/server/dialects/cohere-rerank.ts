/**
 * @file The rerankers of Cohere, Jina and vLLM. `meta` is there for the AI SDK, which refuses an answer without it; an `object` is
 * not.
 */

import { z } from "zod";
import type { Message } from "../../conversation.ts";
import { text } from "../../data/parts.ts";
import { activation, ranked, scoresOf, shortUsageOf } from "./answers.ts";
import type { Body, Dialect } from "./dialect.ts";
import { flag, has, invalid, optional } from "./fields.ts";
import { pairTasks, readLimits } from "./pairs.ts";
import { metaOf, readDocuments, wordsOf } from "./rerank.ts";
import { readVllmFields, routed } from "./vllm-fields.ts";

export const cohereRerank: Dialect = {
  name: "cohere-rerank",
  title: "Cohere, Jina, vLLM /rerank",
  paths: ["/rerank", "/v1/rerank", "/v2/rerank", "/invocations"],
  shape:
    '{"model"?, "query": string, "documents": [string | {"text"} | {"content": [part, ...]}, ...], "top_n"?, "return_documents"?}',
  example: {
    query: "Which number is the largest: 187, 339, 243, 5?",
    documents: ["It is 243.", "It is 339."],
    top_n: 1,
  },
  detects: (body) => has(body, "query") && has(body, "documents"),
  read: (body) => {
    const fields = readVllmFields(body);
    assertWholeDocuments(body);
    const { query, answers, documents, most } = readDocuments(body);
    const pairs = pairTasks([query], answers, {
      instruction: optional(text, body, "instruction"),
      limits: readLimits(body, fields),
      fields,
    });
    const returnsDocuments = optional(flag, body, "return_documents") ?? true;
    const activate = activation(fields.isSigmoid);
    return {
      tasks: pairs.tasks,
      ...routed(fields),
      answer: (results, { id, model }) => {
        pairs.assertUncut(results);
        const best = ranked(scoresOf(results), most).map(({ index, score }) => ({
          index,
          relevance_score: activate(score),
          ...(returnsDocuments && { document: returned(documents[index], answers[index]) }),
        }));
        return {
          id: `rerank-${id}`,
          model,
          usage: shortUsageOf(results),
          results: best,
          meta: metaOf(results),
        };
      },
    };
  },
};

/** Cohere's v1 can choose which fields of a document are judged. */
function assertWholeDocuments(body: Body): void {
  const fields = optional(z.array(z.string("a string"), "a list of strings"), body, "rank_fields") ?? ["text"];
  if (fields.length === 0 || fields.join() === "text") return;
  throw invalid('rank_fields: only the field "text" of a document is read; write what is to be judged into it');
}

function returned(document: unknown, answer: Message | undefined) {
  if (answer === undefined || typeof answer.content === "string") return { text: answer?.content ?? "" };
  if (answer.content.every(({ type }) => type === "text")) return { text: wordsOf(answer) };
  const content =
    typeof document === "object" && document !== null && "content" in document ? document.content : undefined;
  return { text: null, multi_modal: Array.isArray(content) ? content : [document] };
}
