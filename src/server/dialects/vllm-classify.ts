/** @file vLLM's /classify, raw unless its client asks for the sigmoid. verl's built-in route posts here. */

import { usageOf } from "./answers.ts";
import type { Dialect } from "./dialect.ts";
import { hasPrompts, promptRequest } from "./prompts.ts";
import { readVllmFields } from "./vllm-fields.ts";

export const vllmClassify: Dialect = {
  name: "vllm-classify",
  title: "vLLM /classify, verl",
  paths: ["/classify", "/v1/classify", "/invocations"],
  shape:
    '{"model"?, "input": string | [string, ...] | [int, ...] | [[int, ...], ...]} or {"model"?, "messages": [...]}',
  example: {
    model: "reward",
    messages: [
      { role: "user", content: "Which number is the largest: 187, 339, 243, 5?" },
      { role: "assistant", content: "It is 339." },
    ],
  },
  detects: hasPrompts,
  read: (body) =>
    promptRequest(body, readVllmFields(body), (rewards, results, { id, created, model, label = "LABEL_0" }) => {
      const data = rewards.map((reward, index) => ({ index, label, probs: [reward], num_classes: 1 }));
      return { id: `classify-${id}`, object: "list", created, model, data, usage: usageOf(results) };
    }),
};
