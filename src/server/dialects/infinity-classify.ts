/** @file Infinity's /classify, whose texts are rendered conversations: sigmoids unless its client asks for raw scores. */

import { activation, scoresOf, shortUsageOf } from "./answers.ts";
import type { Dialect } from "./dialect.ts";
import { has, invalid, isOn, modelOf, read, texts } from "./fields.ts";
import { readRendered } from "./rendered.ts";

export const infinityClassify: Dialect = {
  name: "infinity-classify",
  title: "Infinity /classify",
  paths: ["/classify", "/v1/classify"],
  shape: '{"model"?, "input": [string, ...], "raw_scores": true | false}',
  example: {
    input: [
      "<|im_start|>user\nWhich number is the largest: 187, 339, 243, 5?<|im_end|>\n<|im_start|>assistant\nIt is 339.<|im_end|>\n",
    ],
    raw_scores: true,
  },
  detects: (body) => has(body, "raw_scores"),
  read: (body) => {
    const input = read(texts, body.input, ["input"]);
    if (input.length === 0) throw invalid("input: expected at least one text, found an empty list");
    const activate = activation(!isOn(body, "raw_scores"));
    return {
      tasks: input.map((text, index) => readRendered(text, undefined, `input[${index}]`)),
      model: modelOf(body),
      answer: (results, { id, created, model, label = "LABEL_0" }) => ({
        object: "classify",
        data: scoresOf(results).map((score) => [{ score: activate(score), label }]),
        model,
        usage: shortUsageOf(results),
        id: `classify-${id}`,
        created,
      }),
    };
  },
};
