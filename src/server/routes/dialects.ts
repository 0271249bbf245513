/** @file Every dialect on its paths: the body is read into tasks, the tasks are scored, the rewards written as its clients expect. */

import { randomUUID } from "node:crypto";
import type { FastifyPluginCallback, FastifyReply } from "fastify";
import { z } from "zod";
import { describe } from "../../data/schema-errors.ts";
import { VlRewardError } from "../../errors.ts";
import { callerOf } from "../caller.ts";
import type { Answering, Body, RawAnswer } from "../dialects/dialect.ts";
import { dialectFor, dialects, dialectsOf, errorStyleOf } from "../dialects/dialects.ts";
import { answerError } from "../request-errors.ts";
import type { Served } from "../served.ts";
import type { ServedModel } from "../served-models.ts";

export const dialectRoutes =
  ({ models, scoring, limits }: Served): FastifyPluginCallback =>
  (app, _options, done) => {
    const paths = [...new Set(dialects.flatMap(({ paths }) => paths))];
    for (const path of paths) {
      const own = dialectsOf(path);
      app.route({
        method: [...new Set(own.flatMap(({ methods = ["POST"] }) => methods))],
        url: path,
        schema: {
          summary: `Rewards for clients of ${own.map(({ title }) => title).join("; ")}`,
          description: own.map(({ name, shape }) => `${name}: ${shape}`).join("\n\n"),
          body: z.looseObject({}).meta({ examples: own.map(({ example }) => example) }),
        },
        attachValidation: true, // what is no object is refused below, in the words of the path
        handler: async (request, reply) => {
          let style = errorStyleOf(path);
          try {
            const body = objectOf(request.body);
            const dialect = dialectFor(path, body);
            style = dialect.errors ?? "openai";
            const { tasks, model: name, priority, cacheSalt, answer } = dialect.read(body, path);
            if (tasks.length > limits.items) {
              const message = `${tasks.length} conversations in one request, this server takes at most ${limits.items}`;
              throw new VlRewardError("invalid_request", message);
            }
            const model = await models.find(name);
            const results = await scoring.scores(model, tasks, callerOf(request, reply, priority), cacheSalt);
            return sent(reply, answer(results, answeringOf(model, reply.elapsedTime / 1000)));
          } catch (error) {
            if (reply.raw.destroyed) throw error;
            return answerError(error, style, request, reply, limits);
          }
        },
      });
    }
    done();
  };

const answeringOf = ({ name, engine }: ServedModel, seconds: number): Answering => ({
  seconds,
  model: name,
  id: randomUUID().replaceAll("-", ""),
  created: Math.floor(Date.now() / 1000),
  label: engine.info.label,
});

function sent(reply: FastifyReply, answer: unknown) {
  if (isRaw(answer)) {
    return reply
      .type(answer.contentType)
      .headers({ ...answer.headers })
      .send(Buffer.from(answer.bytes));
  }
  return reply.type("application/json").send(JSON.stringify(answer));
}

const isRaw = (answer: unknown): answer is RawAnswer =>
  typeof answer === "object" && answer !== null && "bytes" in answer && answer.bytes instanceof Uint8Array;

function objectOf(body: unknown): Body {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as Body;
  throw new VlRewardError("invalid_request", `the body: expected a JSON object, found ${describe(body)}`);
}
