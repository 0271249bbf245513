/**
 * @file OpenRLHF of all ages, OpenRLHF-M and LMM-R1. The answer has two keys and no other: OpenRLHF-M makes a tensor of every value
 * in it.
 */

import { scoresOf } from "./answers.ts";
import type { Dialect } from "./dialect.ts";
import { has, modelOf, read, texts } from "./fields.ts";
import { readSamples } from "./trainers.ts";

export const openrlhf: Dialect = {
  name: "openrlhf",
  title: "OpenRLHF, OpenRLHF-M, LMM-R1",
  paths: ["/get_reward", "/"],
  shape: '{"query": [string, ...], "prompts"?: [...], "labels"?: [...]}',
  example: {
    query: [
      "<|im_start|>user\nWhich number is the largest: 187, 339, 243, 5?<|im_end|>\n<|im_start|>assistant\nIt is 339.<|im_end|>",
    ],
    prompts: ["<|im_start|>user\nWhich number is the largest: 187, 339, 243, 5?<|im_end|>\n<|im_start|>assistant\n"],
    labels: ["339"],
  },
  detects: (body) => has(body, "query"),
  read: (body) => ({
    tasks: readSamples(body, "query", read(texts, body.query, ["query"])),
    model: modelOf(body),
    answer: (results) => {
      const scores = scoresOf(results);
      return { rewards: scores, scores };
    },
  }),
};
