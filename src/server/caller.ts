/** @file Who sends a request, how long they wait, and when they are gone. */

import type { FastifyReply, FastifyRequest } from "fastify";
import { VlRewardError } from "../errors.ts";

export interface Caller {
  /** The owner of its key, or where it connects from: among callers of one priority, the engine takes turns. */
  readonly client: string;
  /** Aborts when the client has left. */
  readonly signal: AbortSignal;
  /** Milliseconds since 1970. */
  readonly deadline: number | undefined;
  readonly priority: number;
}

declare module "fastify" {
  interface FastifyRequest {
    /** Set by the guard of keys; undefined where the server has none. */
    owner: string | undefined;
  }
}

const longestWait = 24 * 3600; // seconds

/** @throws VlRewardError `invalid_request` for a timeout that is none */
export function callerOf(request: FastifyRequest, reply: FastifyReply, priority: number | undefined): Caller {
  const left = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) left.abort(new ClientLeft());
  });
  const seconds = waitOf(request);
  return {
    client: request.owner ?? request.ip,
    signal: left.signal,
    deadline: seconds === undefined ? undefined : Date.now() + 1000 * seconds,
    priority: priority ?? 0,
  };
}

/** Nobody is there to read the answer. */
export class ClientLeft extends Error {
  constructor() {
    super("the client has closed the connection");
  }
}

function waitOf({ headers }: FastifyRequest): number | undefined {
  const text = headers["x-request-timeout"];
  if (text === undefined) return undefined;
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds > 0) return Math.min(seconds, longestWait);
  throw new VlRewardError(
    "invalid_request",
    "X-Request-Timeout: expected the seconds that the client waits, more than 0",
  );
}
