/** @file Tokens of texts and conversations and back, in the words of vLLM and SGLang, and of text-embeddings-inference. */

import type { FastifyInstance, FastifyPluginCallback } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { besideKeys, placeMedia, readBeside } from "../../data/beside.ts";
import { readMessages, wireMessages } from "../../data/messages.ts";
import { VlRewardError } from "../../errors.ts";
import type { RewardEngine } from "../../reward/engine.ts";
import type { Served } from "../served.ts";

const tokenize = z
  .looseObject({
    model: z.string().nullish(),
    prompt: z.string().nullish().describe("A text, its special tokens recognised"),
    messages: wireMessages.nullish().describe("Or a conversation, as the chat template writes it"),
    inputs: z
      .union([z.string(), z.array(z.string())])
      .nullish()
      .describe("Of text-embeddings-inference: texts"),
    add_generation_prompt: z.boolean().nullish(),
    return_token_strs: z.boolean().nullish(),
    ...besideKeys,
  })
  .meta({ examples: [{ prompt: "What is 2 + 3?" }, { messages: [{ role: "user", content: "What is 2 + 3?" }] }] });

const detokenize = z
  .looseObject({ model: z.string().nullish(), tokens: z.array(z.number().int().min(0)) })
  .meta({ examples: [{ tokens: [42, 43] }] });

export const tokenRoutes =
  ({ models }: Served): FastifyPluginCallback =>
  (plain: FastifyInstance, _options, done) => {
    const app = plain.withTypeProvider<ZodTypeProvider>();
    const ofText = { schema: { summary: "A text or conversation as token ids", body: tokenize } };
    const ofIds = { schema: { summary: "Token ids as text", body: detokenize } };
    for (const version of ["", "/v1"]) {
      app.post(`${version}/tokenize`, ofText, async ({ body }) => {
        const { engine } = await models.find(body.model ?? undefined);
        const { inputs } = body;
        if (inputs === undefined || inputs === null) return asVllm(engine, body);
        return Promise.all([inputs].flat().map((text) => asTextEmbeddingsInference(engine, text)));
      });
      app.post(`${version}/detokenize`, ofIds, async ({ body }) => {
        const { engine } = await models.find(body.model ?? undefined);
        return { prompt: await engine.detokenize(body.tokens) };
      });
    }
    done();
  };

async function asVllm(engine: RewardEngine, body: z.infer<typeof tokenize>) {
  const { prompt, messages, add_generation_prompt, return_token_strs } = body;
  if (typeof prompt === "string" && messages) {
    throw new VlRewardError("invalid_request", "prompt and messages: expected one of them, found both");
  }
  const given = messages ? placeMedia(readMessages(messages), readBeside(body)) : prompt;
  if (!given) throw new VlRewardError("invalid_request", "expected prompt, messages or inputs, found none of them");
  if (add_generation_prompt) {
    throw new VlRewardError("invalid_request", "add_generation_prompt: expected false; a reward model answers nothing");
  }
  const { ids, spellings = null } = await engine.tokenize(given, { spellings: return_token_strs === true });
  return { count: ids.length, max_model_len: engine.info.maxTokens, tokens: ids, token_strs: spellings };
}

async function asTextEmbeddingsInference(engine: RewardEngine, text: string) {
  const { ids, spellings = [] } = await engine.tokenize(text, { spellings: true });
  return ids.map((id, at) => ({ id, text: spellings[at] ?? "" }));
}
