/** @file Our own API: the records of `score`, many at once, each with its result or its error, in order or as they finish. */

import { once } from "node:events";
import type { FastifyInstance, FastifyPluginCallback } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { embeddingOf } from "../../data/embedding.ts";
import {
  type PreferenceRecord,
  type PromptRecord,
  readParsedPromptRecord,
  readParsedRecord,
} from "../../data/record.ts";
import type { RecordId } from "../../data/record-line.ts";
import { errorResult } from "../../data/result.ts";
import type { ReadResult } from "../../engine/group.ts";
import { VlRewardError } from "../../errors.ts";
import { embeddedRecord, whatToEmbed } from "../../reward/embed-records.ts";
import { requestsFor, resultOf } from "../../reward/record-groups.ts";
import { type Caller, callerOf } from "../caller.ts";
import { withMarkedMedia } from "../dialects/marks.ts";
import type { Served } from "../served.ts";
import type { ServedModel } from "../served-models.ts";

const embed = z
  .strictObject({
    of: z.enum(["prompt", "answer", "conversation"]).default("conversation"),
    pool: z.enum(["mean", "last"]).default("mean"),
    normalize: z.boolean().default(false),
    precision: z.enum(["float32", "float16"]).default("float32"),
  })
  .describe("Vectors instead of rewards, as the command embed has them");

const question = { role: "user", content: "What is 2 + 3?" };

const body = z
  .strictObject({
    model: z.string().optional().describe("Of several served models, which; the first where absent"),
    items: z.array(z.record(z.string(), z.unknown())).describe("Records, as score reads them: docs/records.md"),
    per_token: z.boolean().default(false).describe("The reward at each token of an answer, too"),
    embed: embed.optional(),
    priority: z.number().int().min(-1000).max(1000).optional().describe("Higher is more urgent; 0 where absent"),
  })
  .meta({
    examples: [
      { items: [{ messages: [question], responses: ["It is 5.", "It is 6."] }] },
      { items: [{ id: "pair", messages: [question], chosen: "5", rejected: "6" }], per_token: true },
      { items: [{ messages: [question, { role: "assistant", content: "5" }] }], embed: { of: "answer" } },
    ],
  });

type Body = z.infer<typeof body>;
type Answered = { readonly result: object; readonly tokens: number };

export const rewardRoutes =
  (served: Served): FastifyPluginCallback =>
  (plain, _options, done) => {
    const app: FastifyInstance = plain;
    app.withTypeProvider<ZodTypeProvider>().post(
      "/v1/rewards",
      {
        schema: {
          summary: "Rewards of answers, or vectors: one result or error for each record",
          description:
            "Accept: application/x-ndjson gives each result as a line of its own, with its index, once it is there.",
          body,
        },
      },
      async (request, reply) => {
        const { body } = request;
        assertFew(body.items.length, served.limits.items);
        if (body.per_token && body.embed) {
          throw new VlRewardError("invalid_request", "per_token and embed: expected one of them, found both");
        }
        const model = await served.models.find(body.model);
        const caller = callerOf(request, reply, body.priority);
        const work = body.items.map((item, index) => answer(served, model, item, index, body, caller));
        if (!/\bapplication\/x-ndjson\b/.test(request.headers.accept ?? "")) {
          const answered = await Promise.all(work);
          const tokens = answered.reduce((sum, { tokens }) => sum + tokens, 0);
          const usage = { prompt_tokens: tokens, total_tokens: tokens };
          return { object: "list", model: model.name, data: answered.map(({ result }) => result), usage };
        }
        reply.hijack();
        const { raw } = reply;
        raw.writeHead(200, { "content-type": "application/x-ndjson; charset=utf-8", "x-request-id": request.id });
        const lines = work.map(async (answered, index) => {
          const line = `${JSON.stringify({ index, ...(await answered).result })}\n`;
          if (!raw.write(line) && !raw.destroyed) await Promise.race([once(raw, "drain"), once(raw, "close")]);
        });
        await Promise.allSettled(lines); // what ends them early is the client's leaving
        raw.end();
        return reply;
      },
    );
    done();
  };

async function answer(
  served: Served,
  model: ServedModel,
  item: Record<string, unknown>,
  index: number,
  { per_token, embed }: Body,
  caller: Caller,
): Promise<Answered> {
  if (embed) {
    const read = readParsedPromptRecord(item, index);
    return "error" in read
      ? failed(read.id, read.error)
      : embedOne(served, model, read.id, marked(read.record), embed, caller);
  }
  const read = readParsedRecord(item, index);
  return "error" in read
    ? failed(read.id, read.error)
    : scoreOne(served, model, read.id, marked(read.record), per_token, caller);
}

const marked = <Kind extends PreferenceRecord | PromptRecord>(record: Kind): Kind => ({
  ...record,
  prompt: withMarkedMedia(record.prompt),
});

async function scoreOne(
  { scoring }: Served,
  model: ServedModel,
  id: RecordId,
  record: PreferenceRecord,
  perToken: boolean,
  caller: Caller,
): Promise<Answered> {
  const found = await scoring.read(model, record, requestsFor(perToken), caller);
  assertServed(found);
  return { result: resultOf(id, record, found), tokens: "error" in found ? 0 : found.tokens };
}

async function embedOne(
  { scoring }: Served,
  model: ServedModel,
  id: RecordId,
  record: PreferenceRecord | PromptRecord,
  { of: over, pool: how, normalize: normalise, precision }: NonNullable<Body["embed"]>,
  caller: Caller,
): Promise<Answered> {
  const embedded = whatToEmbed(record, over);
  if (embedded instanceof VlRewardError) return failed(id, embedded);
  const { kind, prompt, answers } = embedded;
  const found = await scoring.read(model, { prompt, answers }, [{ kind: "pooled", over, how, normalise }], caller);
  assertServed(found);
  const tokens = "error" in found ? 0 : found.tokens;
  return { result: embeddingOf(embeddedRecord(id, kind, found, precision), precision), tokens };
}

const failed = (id: RecordId, error: VlRewardError): Answered => ({ result: errorResult(id, error), tokens: 0 });

/** Too much for the server's memory is the whole request's error: the client is to come back, not to lose a record. */
function assertServed(found: ReadResult): void {
  if ("error" in found && found.error.code === "overloaded") throw found.error;
}

function assertFew(found: number, most: number): void {
  if (found <= most) return;
  throw new VlRewardError(
    "invalid_request",
    `items: expected at most ${most}, found ${found}; send them as several requests`,
  );
}
