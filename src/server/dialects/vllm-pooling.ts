/** @file vLLM's /pooling: the reward as a vector of one number, as JSON, in base64, or as bytes. */

import { z } from "zod";
import { usageOf } from "./answers.ts";
import type { Answering, Body, Dialect, RawAnswer, Scored } from "./dialect.ts";
import { encodeNumber, inBase64, type NumberEncoding, readNumberEncoding } from "./encodings.ts";
import { has, invalid, optional } from "./fields.ts";
import { hasPrompts, promptRequest } from "./prompts.ts";
import { readVllmFields } from "./vllm-fields.ts";

const formats = ["float", "base64", "bytes", "bytes_only"] as const;

export const vllmPooling: Dialect = {
  name: "vllm-pooling",
  title: "vLLM /pooling",
  paths: ["/pooling", "/invocations"],
  shape:
    '{"model"?, "input": string | [string, ...] | [int, ...] | [[int, ...], ...]} or {"model"?, "messages": [...]}, ' +
    '"encoding_format"?, "embed_dtype"?, "endianness"?',
  example: {
    messages: [
      { role: "user", content: "Which number is the largest: 187, 339, 243, 5?" },
      { role: "assistant", content: "It is 339." },
    ],
    encoding_format: "base64",
  },
  detects: hasPrompts,
  read: (body) => {
    assertReward(body);
    const fields = readVllmFields(body);
    const format = optional(z.enum(formats, `one of ${formats.join(", ")}`), body, "encoding_format") ?? "float";
    const encoding = readNumberEncoding(body);
    return promptRequest(body, fields, (rewards, results, answering) => {
      if (format === "bytes" || format === "bytes_only") {
        return inBytes(rewards, encoding, format === "bytes" ? { results, answering } : undefined);
      }
      const data = rewards.map((reward, index) => ({
        index,
        object: "pooling",
        data: format === "base64" ? inBase64(reward, encoding) : [reward],
      }));
      const { id, created, model } = answering;
      return { id: `pooling-${id}`, object: "list", created, model, data, usage: usageOf(results) };
    });
  },
};

/** Tasks that vLLM's pooling has for other models. */
function assertReward(body: Body): void {
  const task = optional(z.string("a task"), body, "task");
  if (task === "token_classify") {
    throw invalid(
      'task: token_classify is not answered here; POST /v1/rewards with "per_token" has a reward for every token',
    );
  }
  if (task !== undefined && task !== "classify") {
    throw invalid(`task: expected "classify" or none of it, found ${JSON.stringify(task.slice(0, 60))}`);
  }
  for (const key of ["normalize", "dimensions"]) {
    if (has(body, key)) throw invalid(`${key}: a reward is one number as it is; leave the key out`);
  }
}

/** All numbers one after another; where each lies says a header, in ASCII. */
function inBytes(
  rewards: readonly number[],
  encoding: NumberEncoding,
  told: { readonly results: readonly Scored[]; readonly answering: Answering } | undefined,
): RawAnswer {
  const numbers = rewards.map((reward) => encodeNumber(reward, encoding));
  const answer = { contentType: "application/octet-stream", bytes: Buffer.concat(numbers) };
  if (told === undefined) return answer;
  const size = encoding.dtype === "float32" ? 4 : 2;
  const data = numbers.map((_, index) => ({
    index,
    embed_dtype: encoding.dtype,
    endianness: encoding.endianness,
    start: index * size,
    end: (index + 1) * size,
    shape: [1],
  }));
  const { id, created, model } = told.answering;
  const metadata = JSON.stringify({ id: `pooling-${id}`, created, model, data, usage: usageOf(told.results) });
  const escaped = metadata.replace(
    /[^ -~]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return { ...answer, headers: { metadata: escaped } };
}
