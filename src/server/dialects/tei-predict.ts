/** @file text-embeddings-inference's /predict: a text is a rendered conversation, a pair a question and its answer. */

import { jsonPath } from "../../data/schema-errors.ts";
import { VlRewardError } from "../../errors.ts";
import { activation, scoresOf } from "./answers.ts";
import { readSide } from "./conversations.ts";
import type { Dialect, Task } from "./dialect.ts";
import { has, invalid, isOn, type Key, modelOf, read, texts } from "./fields.ts";
import { readRendered } from "./rendered.ts";
import { assertTruncation } from "./tei-rerank.ts";

export const teiPredict: Dialect = {
  name: "tei-predict",
  title: "text-embeddings-inference /predict",
  paths: ["/predict"],
  errors: "text-embeddings-inference",
  shape: '{"inputs": string | [string, string] | [[string] | [string, string], ...], "raw_scores"?}',
  example: { inputs: ["Which number is the largest: 187, 339, 243, 5?", "It is 339."], raw_scores: true },
  detects: (body) => has(body, "inputs"),
  read: (body) => {
    assertTruncation(body);
    const { inputs } = body;
    const isBatch = Array.isArray(inputs) && !inputs.some((entry) => typeof entry === "string");
    if (isBatch && inputs.length === 0) throw new VlRewardError("empty_candidates", "inputs: the list is empty");
    const activate = activation(!isOn(body, "raw_scores"));
    return {
      tasks: isBatch
        ? inputs.map((input: unknown, index) => readInput(read(texts, input, ["inputs", index]), ["inputs", index]))
        : [readInput(typeof inputs === "string" ? [inputs] : read(texts, inputs, ["inputs"]), ["inputs"], inputs)],
      model: modelOf(body),
      answer: (results, { label = "LABEL_0" }) => {
        const predictions = scoresOf(results).map((score) => [{ score: activate(score), label }]);
        return isBatch ? predictions : predictions[0];
      },
    };
  },
};

/** @param single a request's only input: a list with one text in it is no pair */
function readInput(input: readonly string[], key: Key, single?: unknown): Task {
  const [first, second] = input;
  if (first !== undefined && input.length === 1 && !Array.isArray(single)) {
    return readRendered(first, undefined, jsonPath(key));
  }
  if (first !== undefined && second !== undefined && input.length === 2) {
    return {
      prompt: [readSide(first, "user", [...key, 0])],
      answers: [readSide(second, "assistant", [...key, 1])],
    };
  }
  throw invalid(
    `${jsonPath(key)}: expected a text, or a pair of a question and an answer, found ${input.length} texts`,
  );
}
