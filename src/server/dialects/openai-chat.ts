/**
 * @file OpenAI's /v1/chat/completions, as ms-swift and NVIDIA's endpoints serve reward models: the last turn is the answer, and the
 * completion is its reward, as a string. NeMo Curator and CAMEL read it from `logprobs`.
 */

import { assertUncut, scoresOf, tokensOf } from "./answers.ts";
import { readConversation, withMediaOptions } from "./conversations.ts";
import type { Body, Dialect } from "./dialect.ts";
import { has, invalid, isOn } from "./fields.ts";
import { assertClosedTurn, readVllmFields, routed } from "./vllm-fields.ts";

export const openaiChat: Dialect = {
  name: "openai-chat",
  title: "OpenAI chat completions, ms-swift, NeMo Curator, CAMEL",
  paths: ["/v1/chat/completions"],
  shape: '{"model"?, "messages": [..., {"role": "assistant", "content"}], "images"?, "videos"?}',
  example: {
    model: "reward",
    messages: [
      { role: "user", content: "Which number is the largest: 187, 339, 243, 5?" },
      { role: "assistant", content: "It is 339." },
    ],
  },
  detects: (body) => has(body, "messages"),
  read: (body) => {
    assertOneCompletion(body);
    assertClosedTurn(body);
    const fields = readVllmFields(body);
    return {
      tasks: [withMediaOptions(readConversation(body.messages, ["messages"], body), fields.mediaOptions)],
      ...routed(fields),
      answer: (results, { id, created, model }) => {
        assertUncut(results, fields.mostTokens, "truncate_prompt_tokens");
        const [reward = Number.NaN] = scoresOf(results);
        const tokens = tokensOf(results);
        return {
          id: `chatcmpl-${id}`,
          object: "chat.completion",
          created,
          model,
          choices: [
            {
              index: 0,
              message: { role: "assistant", content: String(reward) },
              finish_reason: "stop",
              logprobs: { content: [{ token: "reward", logprob: reward, bytes: null, top_logprobs: [] }] },
            },
          ],
          usage: { prompt_tokens: tokens, completion_tokens: 1, total_tokens: tokens + 1 },
        };
      },
    };
  },
};

/** Sampling fields say nothing here, but an answer has one shape. */
function assertOneCompletion(body: Body): void {
  if (isOn(body, "stream")) throw invalid("stream: a reward comes as a whole; leave it out");
  if (has(body, "n") && body.n !== 1) throw invalid("n: a conversation has one reward; leave the key out");
}
