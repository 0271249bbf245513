/** @file slime: one sample a request, answered with a bare number. Its prompt is rendered, a bare question, or a list of messages. */

import { text } from "../../data/parts.ts";
import { scoresOf } from "./answers.ts";
import { readTurns } from "./conversations.ts";
import type { Dialect } from "./dialect.ts";
import { has, modelOf, read } from "./fields.ts";
import { readExchange } from "./rendered.ts";
import { labelMedia } from "./trainers.ts";

export const slime: Dialect = {
  name: "slime",
  title: "slime",
  paths: ["/get_reward", "/"],
  shape: '{"prompt": string | [message, ...], "response": string, "label": any}',
  example: { prompt: "Which number is the largest: 187, 339, 243, 5?", response: "It is 339.", label: "339" },
  detects: (body) => has(body, "prompt") && has(body, "response"),
  read: (body) => {
    const response = read(text, body.response, ["response"]);
    const isText = typeof body.prompt === "string";
    const parts = isText ? labelMedia(body.label, ["label"]) : [];
    const prompt = isText ? read(text, body.prompt, ["prompt"]) : readTurns(body.prompt, ["prompt"]);
    const beside = parts.length > 0 ? { key: "label", parts } : undefined;
    return {
      tasks: [readExchange(prompt, response, beside, ["prompt", "response"])],
      model: modelOf(body),
      answer: (results) => scoresOf(results)[0],
    };
  },
};
