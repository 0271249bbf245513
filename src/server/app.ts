/**
 * @file The reward server as a value: everything but the socket. `app.inject` asks it in tests, `listen` of fastify puts it on a
 * network.
 */

import { randomUUID } from "node:crypto";
import cors from "@fastify/cors";
import swagger from "@fastify/swagger";
import { type FastifyInstance, fastify, LogController } from "fastify";
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from "fastify-type-provider-zod";
import { ClientLeft } from "./caller.ts";
import { errorBody } from "./error-answers.ts";
import { guard } from "./guard.ts";
import { parseJsonBody } from "./json-body.ts";
import type { Keys } from "./keys.ts";
import type { MediaRegistry } from "./media-registry.ts";
import { Metrics } from "./metrics.ts";
import { answerError } from "./request-errors.ts";
import { dialectRoutes } from "./routes/dialects.ts";
import { healthRoutes } from "./routes/health.ts";
import { mediaRoutes } from "./routes/media.ts";
import { modelRoutes } from "./routes/models.ts";
import { pageRoutes } from "./routes/pages.ts";
import { rewardRoutes } from "./routes/rewards.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { Scoring } from "./scoring.ts";
import { defaultLimits, type RequestLimits, type Served } from "./served.ts";
import type { ServedModels } from "./served-models.ts";

export interface AppOptions {
  readonly models: ServedModels;
  readonly registry: MediaRegistry;
  /** Who may ask; anybody where absent. */
  readonly keys?: Keys | undefined;
  readonly limits?: RequestLimits;
  /** Origins whose pages may read answers; "*" for all. */
  readonly origins?: readonly string[];
  /** Where a line for each request is written, without its body; nothing is logged where absent. */
  readonly log?: { write(line: string): void };
  /** The text of /metrics, where this is one process of several. */
  readonly allMetrics?: () => Promise<string>;
  readonly version: string;
}

declare module "fastify" {
  interface FastifyInstance {
    readonly metrics: Metrics;
  }
}

const idleSeconds = 650; // longer than the pools of clients and balancers keep a connection
const headersSeconds = 60;

export async function createApp(options: AppOptions): Promise<FastifyInstance> {
  const { models, registry, keys, limits = defaultLimits, origins = [], log, version } = options;
  const metrics = new Metrics(models);
  const served: Served = {
    models,
    registry,
    scoring: new Scoring(registry, metrics, limits.candidates),
    metrics,
    limits,
    version,
  };
  const app = fastify({
    logger: log ? { level: "info", base: null, stream: log } : false,
    bodyLimit: limits.bodyBytes,
    keepAliveTimeout: 1000 * idleSeconds,
    requestTimeout: 0, // a body of tens of megabytes over a slow line; the header's time is bounded below
    routerOptions: { maxParamLength: 500, ignoreTrailingSlash: true },
    genReqId: ({ headers }) => idOf(headers["x-request-id"]),
    logController: new LogController({ disableRequestLogging: true }), // one line for each, below
    return503OnClosing: false, // what arrives on a kept connection while in-flight requests end is still answered
    exposeHeadRoutes: true,
  }).withTypeProvider<ZodTypeProvider>();
  app.server.headersTimeout = 1000 * headersSeconds;
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  if (origins.length > 0) {
    await app.register(cors, { origin: origins.includes("*") ? "*" : [...origins], maxAge: 3600 });
  }
  app.decorate("metrics", metrics);
  app.decorateRequest("owner", undefined);
  app.removeContentTypeParser(["application/json", "text/plain"]);
  app.addContentTypeParser(/^application\/json/i, { parseAs: "buffer" }, (_request, body, done) => {
    try {
      done(null, parseJsonBody(body as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
  });
  if (keys) app.addHook("onRequest", guard(keys));
  // What is answered while the server ends leaves a connection that its client would keep for minutes.
  let isEnding = false;
  app.addHook("preClose", async () => {
    isEnding = true;
  });
  app.addHook("onResponse", async (request, reply) => {
    if (isEnding) setImmediate(() => app.server.closeIdleConnections());
    const route = request.routeOptions.url ?? "unknown";
    metrics.answered(route, reply.statusCode, reply.elapsedTime / 1000);
    const { method, ip, owner } = request;
    const milliseconds = Math.round(reply.elapsedTime);
    request.log.info(
      { method, route, status: reply.statusCode, ms: milliseconds, ip, ...(owner && { owner }) },
      "request",
    );
  });
  app.setErrorHandler((error, request, reply) => {
    if (error instanceof ClientLeft) return reply.hijack();
    return answerError(error, "openai", request, reply, limits);
  });
  app.setNotFoundHandler((request, reply) => {
    const message = `there is no ${request.method} ${request.url.slice(0, 120)} here; /openapi.json lists what there is`;
    return reply.code(404).send(errorBody("openai", { code: "invalid_request", message }, 404));
  });
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: "vl-reward", version, description: "Rewards of answers about pictures, video and text." },
      components: {
        securitySchemes: { bearer: { type: "http", scheme: "bearer" }, basic: { type: "http", scheme: "basic" } },
      },
      ...(keys && { security: [{ bearer: [] }, { basic: [] }] }),
    },
    transform: jsonSchemaTransform,
  });
  app.get("/openapi.json", { schema: { hide: true } }, () => app.swagger());
  await app.register(healthRoutes(served, options.allMetrics));
  await app.register(modelRoutes(served));
  await app.register(rewardRoutes(served));
  await app.register(mediaRoutes(served));
  await app.register(tokenRoutes(served));
  await app.register(dialectRoutes(served));
  await app.register(pageRoutes());
  return app;
}

/** The client's own where it is short and plain, so that both logs name a request alike. */
function idOf(given: string | string[] | undefined): string {
  return typeof given === "string" && /^[\w.:/+=-]{1,128}$/.test(given) ? given : randomUUID();
}
