/** @file What went wrong with a request, as one of the package's errors: nothing else of it leaves the server. */

import type { FastifyReply, FastifyRequest } from "fastify";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import { jsonPath } from "../data/schema-errors.ts";
import { VlRewardError } from "../errors.ts";
import { type ErrorStyle, errorBody, statusOf } from "./error-answers.ts";
import type { RequestLimits } from "./served.ts";

/** An error of ours as it is; what the framework found in words; of anything else no more than that it happened. */
function requestError(error: unknown, limits: RequestLimits): VlRewardError {
  if (error instanceof VlRewardError) return error.code === "internal_error" ? defect(error) : error;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const [first] = error.validation;
    const path = first?.instancePath.split("/").slice(1) ?? [];
    const where = jsonPath(path.map((key) => (/^\d+$/.test(key) ? Number(key) : key)));
    return new VlRewardError("invalid_request", `${where || "the body"}: ${first?.message ?? "not as expected"}`);
  }
  switch (codeOf(error)) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new VlRewardError(
        "request_too_large",
        `the body has more than ${limits.bodyBytes} bytes; register large pictures with POST /v1/media and name them, or raise --max-body`,
      );
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new VlRewardError("invalid_request", "expected a body of the type application/json");
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return new VlRewardError("invalid_request", "the body has another length than its Content-Length says");
    case "FST_ERR_CTP_EMPTY_JSON_BODY":
      return new VlRewardError("invalid_request", "the body is empty; expected JSON");
    default:
      return defect(error);
  }
}

/** Answers a request with what went wrong, as its clients read it; a defect goes into the log as well. */
export function answerError(
  error: unknown,
  style: ErrorStyle,
  request: FastifyRequest,
  reply: FastifyReply,
  limits: RequestLimits,
): FastifyReply {
  const told = requestError(error, limits);
  if (told.code === "internal_error") request.log.error({ err: error }, "internal error");
  const status = statusOf(told.code, style);
  if (status === 503 || status === 429) reply.header("retry-after", "2");
  return reply
    .code(status)
    .type("application/json")
    .send(JSON.stringify(errorBody(style, told, status)));
}

/** The cause stays in the log. */
const defect = (cause: unknown): VlRewardError =>
  new VlRewardError("internal_error", "a defect of the server; its log has more", { cause });

const codeOf = (error: unknown): unknown =>
  typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
