/** @file Tokens of texts and conversations and back, in the words of vLLM and SGLang, and of text-embeddings-inference. */

import type { FastifyInstance, FastifyPluginCallback } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { readMessages, wireMessages } from "../../data/messages.ts";
import { placeMedia, readBeside } from "../../data/beside.ts";
import { VlRewardError } from "../../errors.ts";
import type { Served } from "../app.ts";
import { callerOf } from "../caller.ts";
import { groupOfTask } from "../sources.ts";

const tokenize = z
  .looseObject({
    model: z.string().nullish(),
    prompt: z.string().nullish().describe("A text, its special tokens recognised"),
    messages: wireMessages.nullish().describe("Or a conversation, as the chat template writes it"),
    inputs: z.union([z.string(), z.array(z.string())]).nullish().describe("text-embeddings-inference's: one text or several"),
    add_generation_prompt: z.boolean().nullish(),
    return_token_strs: z.boolean().nullish(),
  })
  .meta({ examples: [{ prompt: "What is 2 + 3?" }, { messages: [{ role: "user", content: "What is 2 + 3?" }] }] });

const detokenize = z
  .looseObject({ model: z.string().nullish(), tokens: z.array(z.number().int().min(0)) })
  .meta({ examples: [{ tokens: [72, 105] }] });

export const tokenRoutes =
  ({ models, registry }: Served): FastifyPluginCallback =>
  (plain, _options, done) => {
    const app = (plain as FastifyInstance).withTypeProvider<ZodTypeProvider>();
    for (const url of ["/tokenize", "/v1/tokenize"]) {
      app.post(url, { schema: { summary: "A text or conversation as token ids", body: tokenize } }, async (request, reply) => {
        const { model, prompt, messages, inputs, add_generation_prompt, return_token_strs } = request.body;
        const { engine } = await models.find(model ?? undefined);
        const { signal } = callerOf(request, reply, undefined);
        if (typeof inputs === "string" || Array.isArray(inputs)) {
          const texts = typeof inputs === "string" ? [inputs] : inputs;
          const found = await Promise.all(texts.map((text) => engine.tokenize({ text, strings: true }, { signal })));
          return found.map(({ ids, strings = [] }) => ids.map((id, at) => ({ id, text: strings[at] ?? "", special: false })));
        }
        if ((typeof prompt === "string") === Array.isArray(messages)) {
          throw new VlRewardError("invalid_request", "expected prompt or messages (or inputs), and one of them");
        }
        if (add_generation_prompt) {
          throw new VlRewardError("invalid_request", "add_generation_prompt: expected false; a reward model answers nothing");
        }
        const strings = return_token_strs === true;
        const asked = Array.isArray(messages)
          ? { messages: await conversationOf(messages, request.body, registry), baseFolder: registry.folder, strings }
          : { text: prompt ?? "", strings };
        const found = await engine.tokenize(asked, { signal });
        const { ids } = found;
        return { count: ids.length, max_model_len: engine.info.maxTokens, tokens: ids, token_strs: found.strings ?? null };
      });
    }
    for (const url of ["/detokenize", "/v1/detokenize"]) {
      app.post(url, { schema: { summary: "Token ids as text", body: detokenize } }, async (request, reply) => {
        const { engine } = await models.find(request.body.model ?? undefined);
        const { signal } = callerOf(request, reply, undefined);
        return { prompt: await engine.detokenize(request.body.tokens, { signal }) };
      });
    }
    done();
  };

async function conversationOf(
  messages: z.infer<typeof wireMessages>,
  body: Readonly<Record<string, unknown>>,
  registry: Served["registry"],
) {
  const prompt = placeMedia(readMessages(messages), readBeside(body));
  const group = await groupOfTask({ prompt, answers: [] }, registry);
  return "prefix" in group ? group.prefix : [];
}
