/** @file LightRFT, which sends pictures: one entry of `images` for each text. */

import { scoresOf } from "./answers.ts";
import type { Dialect } from "./dialect.ts";
import { has, modelOf, read, texts } from "./fields.ts";
import { readSamples } from "./trainers.ts";

export const lightrft: Dialect = {
  name: "lightrft",
  title: "LightRFT",
  paths: ["/get_reward", "/", "/score"],
  shape: '{"queries": [string, ...], "prompts": [...], "references"?: [...], "images"?: [null | [base64, ...], ...]}',
  example: {
    queries: [
      "<|im_start|>user\nWhich number is the largest: 187, 339, 243, 5?<|im_end|>\n<|im_start|>assistant\nIt is 339.<|im_end|>",
    ],
    prompts: ["Which number is the largest: 187, 339, 243, 5?"],
    references: ["339"],
    images: [null],
  },
  detects: (body) => has(body, "queries") && !has(body, "documents") && !has(body, "items"),
  read: (body) => ({
    tasks: readSamples(body, "queries", read(texts, body.queries, ["queries"])),
    model: modelOf(body),
    answer: (results) => ({ rewards: scoresOf(results) }),
  }),
};
