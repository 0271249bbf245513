/** @file LLaMA-Factory's reward client, which looks for `scores` and at nothing else. */

import { assertUncut, scoresOf } from "./answers.ts";
import type { Dialect } from "./dialect.ts";
import { count, invalid, modelOf, optional, read, texts } from "./fields.ts";
import { readRendered } from "./rendered.ts";

export const llamafactory: Dialect = {
  name: "llamafactory",
  title: "LLaMA-Factory",
  paths: ["/v1/score/evaluation"],
  errors: "llamafactory",
  shape: '{"model": string, "messages": [string, ...], "max_length"?: integer}',
  example: {
    model: "model",
    messages: [
      "<|im_start|>user\nWhich number is the largest: 187, 339, 243, 5?<|im_end|>\n<|im_start|>assistant\nIt is 339.<|im_end|>\n",
    ],
  },
  detects: (body) => "messages" in body,
  read: (body) => {
    const messages = read(texts, body.messages, ["messages"]);
    if (messages.length === 0) throw invalid("messages: expected at least one text, found an empty list");
    const maxLength = optional(count, body, "max_length");
    const model = modelOf(body);
    return {
      tasks: messages.map((message, index) => readRendered(message, undefined, `messages[${index}]`)),
      model,
      answer: (results, answering) => {
        assertUncut(results, maxLength, "max_length");
        return {
          id: `scoreval-${answering.id}`,
          object: "score.evaluation",
          model: model ?? answering.model,
          scores: scoresOf(results),
        };
      },
    };
  },
};
