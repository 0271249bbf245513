/** @file Whether the server is well, for probes and balancers, without a key; and its counts. */

import type { FastifyPluginCallback } from "fastify";
import type { Served } from "../served.ts";

/** @param allMetrics the counts of all processes, where this is one of several */
export const healthRoutes =
  ({ models, metrics }: Served, allMetrics: (() => Promise<string>) | undefined): FastifyPluginCallback =>
  (app, _options, done) => {
    const open = { config: { open: true } };
    for (const url of ["/health", "/health_generate", "/ready"]) {
      app.get(url, open, (_request, reply) => reply.code(models.isReady ? 200 : 503).send());
    }
    app.route({
      ...open,
      method: ["GET", "POST"],
      url: "/ping",
      handler: (_request, reply) => reply.code(models.isReady ? 200 : 503).send(),
    });
    app.get("/metrics", open, async (_request, reply) => {
      reply.type(metrics.registry.contentType);
      return allMetrics === undefined ? metrics.registry.metrics() : allMetrics();
    });
    done();
  };
