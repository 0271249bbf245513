/**
 * @file The server's own paths, asked without a socket: records with their results, pictures registered once, keys, limits, errors.
 * Numbers are compared with those of the reference (test/fixtures/parity).
 */

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { Keys } from "vl-reward/server";
import { parityFolder, post, startServer, type TestServer } from "./serving.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

const linesOf = (file: string) =>
  readFileSync(path.join(parityFolder, file), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const cases = linesOf("cases.jsonl");
const scores = linesOf("plain.scores.jsonl");
const rewards = (items: unknown[], more: object = {}, headers = {}) =>
  post(server, "/v1/rewards", { items, ...more }, headers);

const dataUrl = (file: string, type: string) =>
  `data:${type};base64,${readFileSync(path.join(parityFolder, file)).toString("base64")}`;

/** A case of the fixtures with its pictures and clips as a client of a server sends them. */
function sent(record: unknown, place: (file: string) => string): unknown {
  if (Array.isArray(record)) return record.map((entry) => sent(entry, place));
  if (typeof record !== "object" || record === null) {
    return typeof record === "string" && record.startsWith("media/") ? place(record) : record;
  }
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, sent(value, place)]));
}

const asDataUrl = (file: string) => dataUrl(file, file.endsWith(".mp4") ? "video/mp4" : "image/png");

const numbersIn = (result: Record<string, unknown>): number[] =>
  [result.scores, result.score, result.chosen, result.rejected].flat().filter((value) => typeof value === "number");

function assertScores(results: readonly Record<string, unknown>[]) {
  expect(results.map(({ id }) => id)).toEqual(cases.map(({ id }) => id));
  for (const [index, result] of results.entries()) {
    const [found, expected] = [numbersIn(result), numbersIn(scores[index])];
    expect(found).toHaveLength(expected.length);
    for (const [at, number] of found.entries())
      expect(Math.abs(number - (expected[at] ?? Number.NaN))).toBeLessThan(5e-5);
  }
}

describe("POST /v1/rewards", () => {
  test("every case as the reference, pictures and clips as data URLs", async () => {
    const { status, body } = await rewards(cases.map((one) => sent(one, asDataUrl)));
    expect(status).toBe(200);
    assertScores(body.data);
    expect(body).toMatchObject({ object: "list", model: "plain" });
    expect(body.usage.prompt_tokens).toBeGreaterThan(100);
  });

  test("the same with each picture and clip registered once", async () => {
    const ids = new Map<string, string>();
    const files = [...new Set(JSON.stringify(cases).match(/media\/[\w.-]+/g) ?? [])];
    for (const file of files) {
      const bytes = readFileSync(path.join(parityFolder, file));
      const answer = await server.app.inject({
        method: "POST",
        url: "/v1/media",
        payload: bytes,
        headers: { "content-type": "image/png" },
      });
      expect(answer.statusCode).toBe(201);
      const { id, bytes: length } = answer.json();
      expect([id, length]).toEqual([`media:sha256:${createHash("sha256").update(bytes).digest("hex")}`, bytes.length]);
      ids.set(file, id);
    }
    const { body } = await rewards(cases.map((one) => sent(one, (file) => ids.get(file) ?? "")));
    assertScores(body.data);
  });

  test("results and errors in the order of the items, ids kept, and the index without one", async () => {
    const [text] = cases;
    const { status, body } = await rewards([
      { ...text, id: "a" },
      { messages: [] },
      { messages: [{ role: "user", content: "?" }] },
      { ...text, id: undefined },
    ]);
    expect(status).toBe(200);
    expect(body.data.map(({ id }: { id: unknown }) => id)).toEqual(["a", 1, 2, 3]);
    expect(body.data[1].error.code).toBe("invalid_roles");
    expect(body.data[2].error.code).toBe("no_assistant_turn");
    expect(body.data[3].score).toBe(body.data[0].score);
  });

  test("application/x-ndjson: a line for each as it is there, with its index", async () => {
    const items = cases.map((one) => sent(one, asDataUrl));
    const { headers, text } = await rewards(items, {}, { accept: "application/x-ndjson" });
    expect(headers["content-type"]).toContain("application/x-ndjson");
    const lines = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ index }) => index).toSorted((a, b) => a - b)).toEqual(items.map((_, index) => index));
    assertScores(lines.toSorted((a, b) => a.index - b.index));
  });

  test("per_token: the last token's reward is the score", async () => {
    const { body } = await rewards([cases[0]], { per_token: true });
    const [{ score, tokens }] = body.data;
    expect(tokens.at(-1).reward).toBe(score);
    expect(tokens.map(({ text }: { text: string }) => text).join("")).toBe("It is 4, of course.");
  });

  test("embed: vectors of the model's width, of length 1 where that is asked for; a prompt needs no answer", async () => {
    const prompt = { messages: [{ role: "user", content: "What is 2+2?" }] };
    const { body } = await rewards([cases[0], prompt], { embed: { of: "prompt", normalize: true } });
    const [{ embedding }, other] = body.data;
    expect(embedding).toHaveLength(server.engines[0]?.info.hiddenSize ?? 0);
    expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    expect(other.embedding).toEqual(embedding); // the same prompt
    const answers = await rewards([prompt], { embed: { of: "answer" } });
    expect(answers.body.data[0].error.code).toBe("no_assistant_turn");
  });

  it.each([
    [{ items: [] }, 200, undefined],
    [{}, 400, "items"],
    [{ items: [1] }, 400, "items[0]"],
    [{ items: [], per_tokens: true }, 400, "per_tokens"],
    [{ items: [], per_token: true, embed: {} }, 400, "per_token and embed"],
    [{ items: [], embed: { of: "answers" } }, 400, "embed.of"],
  ])("%j -> %i", async (body, status, key) => {
    const answer = await post(server, "/v1/rewards", body);
    expect(answer.status).toBe(status);
    if (key !== undefined) expect(answer.body.error.message).toContain(key);
  });

  test("paths, addresses and what was never registered are that item's error, and name no path of the server", async () => {
    const see = (url: string) => ({
      messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }],
      responses: ["Yes."],
    });
    const hostile = [
      "/etc/passwd",
      "../../../etc/passwd",
      "file:///etc/passwd",
      `${"0".repeat(64)}.image`,
      "media:sha256:../x",
      `media:sha256:${"0".repeat(64)}`,
      "http://127.0.0.1:1/a.png",
      "https://example.org/a.png",
      "data:text/html,<b>",
    ];
    const { body } = await rewards(hostile.map(see));
    const codes = body.data.map((result: { error: { code: string } }) => result.error.code);
    expect(codes).toEqual([
      ...Array(4).fill("media_forbidden"),
      "media_not_found",
      "media_not_found",
      "media_forbidden",
      "media_forbidden",
      "media_unknown_format",
    ]);
    expect(JSON.stringify(body)).not.toContain(server.registry.folder);
  });
});

test("a retry with the same body is answered from what was computed", async () => {
  const [engine] = server.engines;
  const body = { items: [{ messages: [{ role: "user", content: "Again?" }], responses: ["Yes.", "No."] }] };
  const first = await post(server, "/v1/rewards", body);
  const before = engine?.stats.sequences;
  const second = await post(server, "/v1/rewards", body);
  expect(second.body.data).toEqual(first.body.data);
  expect(engine?.stats.sequences).toBe(before);
});

test("a request whose time is over gets a 504 in its item or as a whole, and says so", async () => {
  const headers = { "x-request-timeout": "0.000001" };
  const { body } = await rewards(
    [{ messages: [{ role: "user", content: "Late?" }], responses: ["Yes."] }],
    {},
    headers,
  );
  expect(body.data[0].error.code).toBe("deadline_exceeded");
  const refused = await rewards([], {}, { "x-request-timeout": "soon" });
  expect([refused.status, refused.body.error.message]).toEqual([400, expect.stringContaining("X-Request-Timeout")]);
});

describe("models", () => {
  test("one served model answers to any name, several to their own", async () => {
    const two = await startServer({
      models: { "org/plain": path.join(parityFolder, "plain"), grouped: path.join(parityFolder, "grouped") },
    });
    try {
      const ask = async (model?: string) => (await post(two, "/v1/rewards", { model, items: [cases[0]] })).body;
      expect((await ask()).model).toBe("org/plain");
      const [plain, grouped] = [await ask("org/plain"), await ask("grouped")];
      expect(plain.data[0].score).toBeCloseTo(scores[0].score, 4);
      expect(grouped.data[0].score).toBeCloseTo(linesOf("grouped.scores.jsonl")[0].score, 4);
      expect((await ask("gpt-4")).error).toMatchObject({
        code: 404,
        message: expect.stringContaining("org/plain, grouped"),
      });
      const list = await two.app.inject("/v1/models");
      expect(list.json().data.map(({ id }: { id: string }) => id)).toEqual(["org/plain", "grouped"]);
      for (const url of ["/v1/models/org%2Fplain", "/v1/models/org/plain"]) {
        expect((await two.app.inject(url)).json()).toMatchObject({ id: "org/plain", object: "model" });
      }
      expect((await two.app.inject("/v1/models/none")).statusCode).toBe(404);
    } finally {
      await two.close();
    }
    expect((await post(server, "/v1/rewards", { model: "gpt-4", items: [] })).body.model).toBe("plain");
  });
});

describe("keys", () => {
  const key = "a-key-of-this-test-0123";
  let guarded: TestServer;
  beforeAll(async () => {
    const file = path.join(server.registry.folder, "keys.txt");
    writeFileSync(file, `tester ${key}\n`);
    guarded = await startServer({ keys: Keys.fromFile(file) });
  });
  afterAll(() => guarded.close());

  test("every path but those of health wants one", async () => {
    const routes = Object.entries<object>(Object(guarded.app.swagger().paths)).flatMap(([url, methods]) =>
      Object.keys(methods).map((method) => ({ url: url.replace("{*}", "x"), method: method.toUpperCase() as "GET" })),
    );
    const all = [
      ...routes,
      { url: "/openapi.json", method: "GET" as const },
      { url: "/nowhere", method: "GET" as const },
    ];
    expect(all.length).toBeGreaterThan(20);
    const open = [];
    for (const { url, method } of all) {
      const { statusCode, headers } = await guarded.app.inject({ url, method });
      if (statusCode !== 401) open.push(url);
      else expect(headers["www-authenticate"]).toContain("Basic");
    }
    expect(new Set(open)).toEqual(new Set(["/health", "/health_generate", "/ready", "/ping", "/metrics"]));
  });

  test("Bearer opens, and Basic's password", async () => {
    for (const authorization of [`Bearer ${key}`, `Basic ${Buffer.from(`any:${key}`).toString("base64")}`]) {
      expect((await post(guarded, "/v1/rewards", { items: [] }, { authorization })).status).toBe(200);
    }
    expect((await post(guarded, "/v1/rewards", { items: [] }, { authorization: `Bearer ${key}x` })).status).toBe(401);
  });
});

describe("what is wrong with a request is said in one shape", () => {
  it.each([
    ["/v1/rewards", "{", 400, "not readable JSON"],
    ["/v1/rewards", "", 400, "empty"],
    ["/v1/rewards", '"text"', 400, "the body"],
    ["/nowhere", "{}", 404, "there is no POST /nowhere"],
    ["/tokenize", "{}", 400, "expected prompt, messages or inputs"],
  ])("%s %s", async (url, payload, status, message) => {
    const { status: found, body } = await post(server, url, payload);
    expect(found).toBe(status);
    expect(body).toMatchObject({ object: "error", code: status, error: { code: status, type: expect.any(String) } });
    expect(body.message).toBe(body.error.message);
    expect(body.message).toContain(message);
  });

  test("another type than JSON, and a body beyond the limit", async () => {
    const plain = await post(server, "/v1/rewards", "{}", { "content-type": "text/plain" });
    expect([plain.status, plain.body.message]).toEqual([400, expect.stringContaining("application/json")]);
    const small = await startServer({ limits: { bodyBytes: 1000, candidates: 3, items: 2 } });
    try {
      const large = await post(small, "/v1/rewards", { items: [{ text: "x".repeat(1000) }] });
      expect([large.status, large.body.message]).toEqual([413, expect.stringContaining("1000 bytes")]);
      const many = await post(small, "/v1/rewards", { items: [{}, {}, {}] });
      expect([many.status, many.body.message]).toEqual([400, expect.stringContaining("at most 2, found 3")]);
      const answers = { messages: [{ role: "user", content: "?" }], responses: ["a", "b", "c", "d"] };
      const wide = await post(small, "/v1/rewards", { items: [answers] });
      expect(wide.body.data[0].error.message).toMatch(/4 answers .* at most 3/);
    } finally {
      await small.close();
    }
  });

  test("the client's own name of a request comes back, if it is one", async () => {
    const named = await post(
      server,
      "/v1/rewards",
      { items: [] },
      { "x-request-id": "run-7/step 3".replace(" ", "-") },
    );
    expect(named.headers["x-request-id"]).toBe("run-7/step-3");
    const odd = await post(server, "/v1/rewards", { items: [] }, { "x-request-id": "<script>" });
    expect(odd.headers["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
  });
});

test("health, counts and the log say what happens, and no body is in them", async () => {
  const lines: string[] = [];
  const logged = await startServer({ log: { write: (line) => void lines.push(line) } });
  try {
    for (const url of ["/health", "/health/", "/ready", "/ping", "/health_generate"]) {
      expect((await logged.app.inject(url)).statusCode).toBe(200);
    }
    const secret = "a word that stands in the body";
    await post(logged, "/v1/rewards", {
      items: [{ messages: [{ role: "user", content: secret }], responses: ["Yes.", "No."] }],
    });
    await post(logged, "/v1/rewards", { items: [{ messages: [{ role: secret, content: secret }] }] });
    expect(lines.join("")).not.toContain(secret);
    expect(lines.filter((line) => line.includes('"/v1/rewards"'))).toHaveLength(2);
    const counts = (await logged.app.inject("/metrics")).body;
    expect(counts).toContain('vl_reward_answers_total{model="plain"} 2');
    expect(counts).toContain('vl_reward_requests_total{route="/v1/rewards",status="200"} 2');
    expect(counts).toMatch(/vl_reward_stage_seconds_count\{model="plain",stage="compute"\} 1/);
    await logged.engines[0]?.close();
    expect((await logged.app.inject("/health")).statusCode).toBe(503);
  } finally {
    await logged.close();
  }
});

test("pages of other origins may read answers where they are named, and only those", async () => {
  const shared = await startServer({ origins: ["https://lab.example"] });
  try {
    const preflight = (origin: string) =>
      shared.app.inject({
        method: "OPTIONS",
        url: "/v1/rewards",
        headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type" },
      });
    expect((await preflight("https://lab.example")).headers["access-control-allow-origin"]).toBe("https://lab.example");
    expect((await preflight("https://other.example")).headers["access-control-allow-origin"]).toBeUndefined();
    const closed = await server.app.inject({ url: "/v1/models", headers: { origin: "https://lab.example" } });
    expect(closed.headers["access-control-allow-origin"]).toBeUndefined();
  } finally {
    await shared.close();
  }
});

test("every example of the API's document is answered", async () => {
  const document = (await server.app.inject("/openapi.json")).json();
  expect(document.openapi).toBe("3.1.0");
  type Operation = { requestBody?: { content?: Record<string, { examples?: Record<string, { value: unknown }> }> } };
  const asked = Object.entries<Record<string, Operation>>(document.paths).flatMap(([url, methods]) =>
    Object.values(methods).flatMap(({ requestBody }) =>
      Object.values(requestBody?.content?.["application/json"]?.examples ?? {}).map(({ value }) => ({
        url,
        example: value,
      })),
    ),
  );
  expect(asked.length).toBeGreaterThan(30);
  for (const { url, example } of asked) {
    const { status, text } = await post(server, url, example);
    expect(status, `${url} ${JSON.stringify(example)} -> ${text}`).toBe(200);
  }
});

test("bare NaN in a field that nobody reads does not cost the request", async () => {
  const query = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\nIt is 4, of course.<|im_end|>";
  const body = JSON.stringify({ query: [query], labels: ["x"] }).replace('"x"', "NaN");
  const { status, body: answer } = await post(server, "/get_reward", body);
  expect(status).toBe(200);
  expect(answer.rewards[0]).toBeCloseTo(scores[0].score, 4);
});

test("the version of the API's document and /version are the server's", async () => {
  expect((await server.app.inject("/version")).json()).toEqual({ version: "0.0.0" });
});
