/** @file Who may ask: the holders of keys, on every path but those that tell whether the server is well. */

import type { onRequestAsyncHookHandler } from "fastify";
import { errorBody } from "./error-answers.ts";
import type { Keys } from "./keys.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Whether it is answered without a key. */
    open?: boolean;
  }
}

export const guard =
  (keys: Keys): onRequestAsyncHookHandler =>
  async (request, reply) => {
    const owner = keys.ownerOf(request.headers.authorization);
    if (owner !== undefined) request.owner = owner;
    else if (!request.routeOptions.config.open) {
      const message =
        "this server wants a key: Authorization: Bearer KEY, or http://any:KEY@host where there are no headers";
      await reply
        .code(401)
        .header("www-authenticate", 'Basic realm="vl-reward", charset="UTF-8"')
        .send(errorBody("openai", { code: "unauthorized", message }, 401));
    }
  };
