/** @file Where a client sends a picture or video once, to name it afterwards. */

import multipart from "@fastify/multipart";
import type { FastifyInstance } from "fastify";
import { VlRewardError } from "../../errors.ts";
import type { Served } from "../served.ts";

export const mediaRoutes =
  ({ registry }: Served) =>
  async (app: FastifyInstance): Promise<void> => {
    const { maxBytes } = registry.limits;
    await app.register(multipart, { limits: { fileSize: maxBytes + 1, files: 1, fields: 8, fieldSize: 4096 } });
    // Any other type is the file itself.
    app.removeContentTypeParser(/^application\/json/i);
    app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    app.post(
      "/v1/media",
      {
        bodyLimit: maxBytes,
        schema: {
          summary: "Keeps a picture or video under the hash of its bytes",
          description:
            "The body is the file, or multipart/form-data with one file. Its id, media:sha256:..., may stand wherever a request " +
            "has a picture or video. Those that were not used for long make room for others.",
          consumes: ["image/*", "video/*", "application/octet-stream", "multipart/form-data"],
        },
      },
      async (request, reply) => {
        const source = request.isMultipart()
          ? (await request.file())?.file
          : (request.body as AsyncIterable<Uint8Array>);
        if (!source) throw new VlRewardError("invalid_request", "expected a file in the body, found none");
        const { id, kind, bytes } = await registry.add(source);
        reply.code(201);
        return { id, object: "media", kind, bytes };
      },
    );
  };
