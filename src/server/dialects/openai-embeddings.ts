/** @file OpenAI's /v1/embeddings: a vector of length one. OpenAI's own clients ask for base64 without being told to. */

import { z } from "zod";
import { shortUsageOf } from "./answers.ts";
import type { Body, Dialect } from "./dialect.ts";
import { inBase64, readNumberEncoding } from "./encodings.ts";
import { has, invalid, isOn, optional } from "./fields.ts";
import { hasPrompts, promptRequest } from "./prompts.ts";
import { readVllmFields } from "./vllm-fields.ts";

const formats = ["float", "base64"] as const;

export const openaiEmbeddings: Dialect = {
  name: "openai-embeddings",
  title: "OpenAI, vLLM and SGLang /v1/embeddings",
  paths: ["/v1/embeddings"],
  shape:
    '{"model"?, "input": string | [string, ...] | [int, ...] | [[int, ...], ...] | [{"text", "image"?, "video"?}, ...]} or ' +
    '{"model"?, "messages": [...]}, "encoding_format"?',
  example: {
    model: "reward",
    input:
      "<|im_start|>user\nWhich number is the largest: 187, 339, 243, 5?<|im_end|>\n<|im_start|>assistant\nIt is 339.<|im_end|>\n",
  },
  detects: hasPrompts,
  read: (body) => {
    assertOneNumber(body);
    const fields = readVllmFields(body);
    const format = optional(z.enum(formats, `one of ${formats.join(", ")}`), body, "encoding_format") ?? "float";
    const encoding = readNumberEncoding(body);
    return promptRequest(body, fields, (rewards, results, { model }) => {
      const data = rewards.map((reward, index) => ({
        object: "embedding",
        index,
        embedding: format === "base64" ? inBase64(reward, encoding) : [reward],
      }));
      return { object: "list", data, model, usage: shortUsageOf(results) };
    });
  },
};

function assertOneNumber(body: Body): void {
  if (has(body, "dimensions") && body.dimensions !== 1) {
    throw invalid("dimensions: a reward has one; leave the key out");
  }
  if (isOn(body, "normalize")) throw invalid("normalize: a vector of one number would be 1 or -1; leave the key out");
}
