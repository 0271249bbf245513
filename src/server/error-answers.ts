/**
 * @file Errors as the clients of each dialect read them, and the statuses that go with the codes. The one body has what all of them
 * look for but those of text-embeddings-inference, whose `error` is a string.
 */

import type { ErrorCode } from "../errors.ts";
import type { Dialect } from "./dialects/dialect.ts";

export type ErrorStyle = NonNullable<Dialect["errors"]>;

/** Codes that are not the request's fault, or have a status of their own; all others are 400. */
const statuses: Readonly<Partial<Record<string, number>>> = {
  unauthorized: 401,
  model_not_found: 404,
  model_unknown: 404,
  request_too_large: 413,
  internal_error: 500,
  score_not_finite: 500,
  operator_failed: 500,
  use_after_dispose: 500,
  scope_misuse: 500,
  native_unavailable: 503,
  device_unavailable: 503,
  engine_closed: 503,
  overloaded: 503,
  deadline_exceeded: 504,
};

/** Bad input is 400, which trainers do not try again; 503 is tried again, and goes out with Retry-After. */
export function statusOf(code: ErrorCode | (string & {}), style: ErrorStyle = "openai"): number {
  const status = statuses[code] ?? 400;
  if (style !== "text-embeddings-inference") return status;
  if (code === "empty_candidates") return 400;
  if (code === "overloaded") return 429;
  return { 400: 422, 500: 424 }[status] ?? status;
}

/** What text-embeddings-inference calls a failure of a status. */
const inferenceTypes: Readonly<Record<number, string>> = {
  400: "Empty",
  424: "Backend",
  429: "Overloaded",
  503: "Unhealthy",
};

const types: Readonly<Record<number, string>> = {
  401: "AuthenticationError",
  403: "PermissionDeniedError",
  404: "NotFoundError",
  429: "RateLimitError",
  501: "NotImplementedError",
  503: "ServiceUnavailableError",
  504: "TimeoutError",
};

const typeOf = (status: number): string => types[status] ?? (status < 500 ? "BadRequestError" : "InternalServerError");

/** @param status by `statusOf` of the same style */
export function errorBody(
  style: ErrorStyle,
  error: { readonly code: string; readonly message: string },
  status: number,
): Readonly<Record<string, unknown>> {
  const { code, message } = error;
  if (style === "text-embeddings-inference")
    return { error: message, error_type: inferenceTypes[status] ?? (status < 500 ? "Validation" : "Backend") };
  return {
    error: { message, type: typeOf(status), param: keyIn(message), code: status },
    object: "error",
    message,
    code: status,
    // FastAPI's word for it, and LLaMA-Factory's for a body that it cannot use.
    ...(style === "llamafactory" && { detail: code === "invalid_request" ? "Invalid request" : message }),
  };
}

/** The key at which a message says that something is wrong, such as `query[3]`. */
const keyIn = (message: string): string | null =>
  /^[a-z_][\w-]*(?:\[\d{1,9}\]|\.[a-z_]\w{0,60})*(?=: )/i.exec(message.slice(0, 400))?.[0] ?? null;
