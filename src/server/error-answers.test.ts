import { describe, expect, test } from "vitest";
import { errorBody, statusOf } from "./error-answers.ts";

const bad = { code: "invalid_request", message: "query[3]: expected a string, found the number 5" };

describe("statuses", () => {
  test("bad input is 400, what is not the client's fault is not", () => {
    expect(statusOf("invalid_request")).toBe(400);
    expect(statusOf("invalid_record")).toBe(400);
    expect(statusOf("media_damaged")).toBe(400);
    expect(statusOf("sequence_too_long")).toBe(400);
    expect(statusOf("internal_error")).toBe(500);
    expect(statusOf("score_not_finite")).toBe(500);
    expect(statusOf("engine_closed")).toBe(503);
    expect(statusOf("overloaded")).toBe(503);
    expect(statusOf("model_unknown")).toBe(404);
    expect(statusOf("request_too_large")).toBe(413);
  });

  test("text-embeddings-inference has its own", () => {
    const style = "text-embeddings-inference";
    const told = (code: string) => {
      const status = statusOf(code, style);
      return [status, errorBody(style, { code, message: "m" }, status)];
    };
    expect(told("invalid_request")).toEqual([422, { error: "m", error_type: "Validation" }]);
    expect(told("empty_candidates")).toEqual([400, { error: "m", error_type: "Empty" }]);
    expect(told("overloaded")).toEqual([429, { error: "m", error_type: "Overloaded" }]);
    expect(told("internal_error")).toEqual([424, { error: "m", error_type: "Backend" }]);
    expect(told("engine_closed")).toEqual([503, { error: "m", error_type: "Unhealthy" }]);
    expect(told("request_too_large")).toEqual([413, { error: "m", error_type: "Validation" }]);
  });
});

describe("bodies", () => {
  test("have what every client looks for", () => {
    const { message } = bad;
    expect(errorBody("openai", bad, 400)).toEqual({
      error: { message, type: "BadRequestError", param: "query[3]", code: 400 },
      object: "error",
      message,
      code: 400,
    });
    expect(errorBody("sglang", bad, 400)).toEqual(errorBody("openai", bad, 400));
  });

  test("name vLLM's types, and no key where a message names none", () => {
    const types = [400, 404, 500, 501].map((status) =>
      errorBody("openai", { code: "x", message: "a sentence; more: b" }, status),
    );
    expect(types.map(({ error }) => error)).toMatchObject([
      { type: "BadRequestError", param: null },
      { type: "NotFoundError", param: null },
      { type: "InternalServerError", param: null },
      { type: "NotImplementedError", param: null },
    ]);
  });

  test("LLaMA-Factory's have a detail", () => {
    expect(errorBody("llamafactory", bad, 400)).toMatchObject({ detail: "Invalid request", object: "error" });
    expect(errorBody("llamafactory", { code: "media_damaged", message: "m" }, 400)).toMatchObject({ detail: "m" });
  });
});
