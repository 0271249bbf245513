/** @file align-anything: a user's turn and an answer, each in a list of its own. */

import { scoresOf } from "./answers.ts";
import type { Dialect } from "./dialect.ts";
import { has, invalid, modelOf, read, texts } from "./fields.ts";
import { readExchange } from "./rendered.ts";

export const alignAnything: Dialect = {
  name: "align-anything",
  title: "align-anything",
  paths: ["/get_reward", "/"],
  shape: '{"prompts": [string, ...], "responses": [string, ...]}',
  example: { prompts: ["Which number is the largest: 187, 339, 243, 5?"], responses: ["It is 339."] },
  detects: (body) => has(body, "responses"),
  read: (body) => {
    const prompts = read(texts, body.prompts, ["prompts"]);
    const responses = read(texts, body.responses, ["responses"]);
    if (prompts.length !== responses.length) {
      throw invalid(`responses: expected one for each of prompts, ${prompts.length}, found ${responses.length}`);
    }
    return {
      tasks: responses.map((response, index) =>
        readExchange(prompts[index] ?? "", response, undefined, [`prompts[${index}]`, `responses[${index}]`]),
      ),
      model: modelOf(body),
      answer: (results) => ({ rewards: scoresOf(results) }),
    };
  },
};
