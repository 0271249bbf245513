/** @file vLLM's /score: pairs of a query and a document, which for a reward model are a question and an answer. */

import { text } from "../../data/parts.ts";
import { activation, scoresOf, usageOf } from "./answers.ts";
import { readSide } from "./conversations.ts";
import type { Body, Dialect } from "./dialect.ts";
import { has, invalid, optional } from "./fields.ts";
import { pairTasks, readLimits } from "./pairs.ts";
import { readVllmFields, routed } from "./vllm-fields.ts";

const keyPairs = [
  ["queries", "documents"],
  ["queries", "items"],
  ["text_1", "text_2"],
  ["data_1", "data_2"],
] as const;

export const vllmScore: Dialect = {
  name: "vllm-score",
  title: "vLLM /score",
  paths: ["/score", "/v1/score", "/invocations"],
  shape:
    '{"model"?, "queries": side | [side, ...], "documents" (or "items"): side | [side, ...]}, with "text_1" and "text_2" or "data_1" ' +
    'and "data_2" for them, where a side is a string or {"content": [part, ...]}',
  example: {
    queries: "Which number is the largest: 187, 339, 243, 5?",
    documents: ["It is 339.", "It is 243."],
  },
  detects: (body) =>
    keyPairs.some((keys) => keys.some((key) => key !== "documents" && key !== "items" && has(body, key))),
  read: (body) => {
    const fields = readVllmFields(body);
    const limits = readLimits(body, fields);
    const instruction = optional(text, body, "instruction");
    const [first, second] = keysOf(body);
    const queries = readSides(body, first, "user");
    const documents = readSides(body, second, "assistant");
    if (queries.length !== 1 && queries.length !== documents.length) {
      throw invalid(
        `Input lengths must be either 1:1, 1:N or N:N: found ${queries.length} in ${first} and ${documents.length} in ${second}`,
      );
    }
    const pairs = pairTasks(queries, documents, { instruction, limits, fields });
    const activate = activation(fields.isSigmoid);
    return {
      tasks: pairs.tasks,
      ...routed(fields),
      answer: (results, { id, created, model }) => {
        pairs.assertUncut(results);
        const data = scoresOf(results).map((score, index) => ({ index, object: "score", score: activate(score) }));
        return { id: `score-${id}`, object: "list", created, model, data, usage: usageOf(results) };
      },
    };
  },
};

function keysOf(body: Body): (typeof keyPairs)[number] {
  const given = keyPairs.filter((keys) => keys.every((key) => has(body, key)));
  const [only] = given;
  if (only !== undefined && given.length === 1) return only;
  const names = keyPairs.map((keys) => keys.join(" and ")).join(", ");
  throw invalid(`expected one pair of ${names}, found ${given.length === 0 ? "none that is whole" : "several"}`);
}

function readSides(body: Body, key: string, role: "user" | "assistant") {
  const value = body[key];
  if (!Array.isArray(value)) return [readSide(value, role, [key])];
  if (value.length === 0) throw invalid(`${key}: expected at least one, found an empty list`);
  return value.map((side: unknown, index) => readSide(side, role, [key, index]));
}
