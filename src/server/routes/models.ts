/** @file Which models are served, in the words of OpenAI's, vLLM's, SGLang's and text-embeddings-inference's clients. */

import type { FastifyPluginCallback } from "fastify";
import { z } from "zod";
import type { Served } from "../served.ts";
import type { ServedModel } from "../served-models.ts";

const modelParams = z.object({ "*": z.string() });

export const modelRoutes =
  ({ models, version }: Served): FastifyPluginCallback =>
  (app, _options, done) => {
    app.get("/v1/models", { schema: { summary: "The served models" } }, async () => ({
      object: "list",
      data: (await models.ready()).map(cardOf),
    }));
    // Names have slashes, written as such or as %2F.
    app.get("/v1/models/*", { schema: { summary: "One of them", params: modelParams } }, async (request) => {
      const { "*": name } = modelParams.parse(request.params);
      return cardOf(await models.named(name));
    });
    app.get("/version", async () => ({ version }));
    for (const url of ["/model_info", "/get_model_info"]) {
      app.get(url, async () => sglangInfo(await models.find(undefined)));
    }
    for (const url of ["/server_info", "/get_server_info"]) {
      app.get(url, async () => ({ version, ...sglangInfo(await models.find(undefined)) }));
    }
    app.get("/info", async () => {
      const { name, engine } = await models.find(undefined);
      const { maxTokens, dtype, label } = engine.info;
      return {
        model_id: name,
        model_dtype: dtype,
        model_type: { classifier: { id2label: { 0: label }, label2id: { [label]: 0 } } },
        max_input_length: maxTokens,
        max_client_batch_size: 1024,
        version,
      };
    });
    app.get("/load", async () => ({
      server_load: models.loaded.reduce((sum, { engine }) => sum + engine.stats.queue.length, 0),
    }));
    done();
  };

function cardOf({ name, engine, created }: ServedModel) {
  const { maxTokens, readsMedia } = engine.info;
  return {
    id: name,
    object: "model",
    created,
    owned_by: "vl-reward",
    root: name,
    parent: null,
    max_model_len: maxTokens,
    has_image_understanding: readsMedia,
    permission: [],
  };
}

const sglangInfo = ({ name, engine }: ServedModel) => ({
  model_path: name,
  served_model_name: name,
  tokenizer_path: name,
  is_generation: false,
  has_image_understanding: engine.info.readsMedia,
  weight_version: "default",
});
