/**
 * @file Requests in which something is wrong, to every dialect: each is answered, well or with the error that its clients read, and those
 * in between get their numbers.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dialectFor, dialects, errorStyleOf } from "../../src/server/dialects/dialects.ts";
import { parityFolder, post, startServer, type TestServer } from "../server/serving.ts";
import { type Json, mutated } from "./json.ts";
import { countOf, oneOf, type Random, randomOf, tally } from "./random.ts";

const attempts = countOf("REQUESTS", 1000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

const dataUrl = `data:image/png;base64,${readFileSync(path.join(parityFolder, "media/tiny.png")).toString("base64")}`;
const place = "<|vision_start|><|image_pad|><|vision_end|>";
const turns = `<|im_start|>user\n${place}How many?<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n`;
const seen = { role: "user", content: [{ type: "image_url", image_url: { url: dataUrl } }, "How many?"] };
const bodies: readonly [string, Json][] = [
  ...dialects.flatMap(({ paths, example }) => paths.map((at): [string, Json] => [at, example as unknown as Json])),
  [
    "/get_reward",
    { query: [turns, turns], prompts: [null, JSON.stringify([seen])], labels: [{ images: [dataUrl] }, 1] },
  ],
  ["/score", { queries: [turns], prompts: ["x"], images: [[dataUrl]] }],
  ["/classify", { text: [turns, "x"], image_data: [[dataUrl], null] }],
  ["/classify", { messages: [seen, { role: "assistant", content: "3" }], mm_processor_kwargs: { max_pixels: 3136 } }],
  [
    "/rerank",
    { query: { content: [{ type: "image", image: dataUrl }, "How many?"] }, documents: ["3", "4"], top_n: 1 },
  ],
  ["/v1/rewards", { items: [{ messages: [seen], responses: ["3", "4"] }] }],
];

const asked = { prompts: ["What is 2+2?"], responses: ["It is 4, of course."] };
const [expected] = readFileSync(path.join(parityFolder, "plain.scores.jsonl"), "utf8").split("\n");

/** JSON as connections and careless programs leave it. */
function damaged(text: string, random: Random): string {
  switch (random(40)) {
    case 0:
      return text.slice(0, random(text.length));
    case 1:
      return text.replace(/:\s*\d+/, ": NaN");
    case 2:
      return `\ufeff${text}`;
    case 3:
      return text + text;
    default:
      return text;
  }
}

test(`${attempts} requests with something wrong in them, good ones in between`, async () => {
  const outcomes: string[] = [];
  for (let attempt = 0; attempt < attempts; attempt++) {
    const random = randomOf(attempt);
    const [at, whole] = oneOf(random, bodies);
    const body = mutated(whole, random);
    const { status, text, body: answer } = await post(server, at, damaged(JSON.stringify(body), random));
    outcomes.push(String(status));
    expect(text, at).not.toMatch(/\bat \S+ \(|node_modules|\.ts:|vl-reward-server-/);
    if (status !== 200) assertError(at, body, status, answer);
    else if (answer !== undefined) expect(text).not.toMatch(/:null,"(score|probs)|[:[,]NaN/);
    if (attempt % 50 === 0) {
      const good = await post(server, "/get_reward", asked);
      expect(Math.abs(good.body.rewards[0] - JSON.parse(expected ?? "").score)).toBeLessThan(5e-5);
    }
  }
  console.log(tally(outcomes));
  expect(outcomes.filter((status) => status === "200").length).toBeGreaterThan(attempts / 10);
  expect(outcomes.filter((status) => /^[45]/.test(status)).length).toBeGreaterThan(attempts / 10);
}, 300_000);

/** The error of the dialect that the body is of, as far as one can tell. */
function assertError(at: string, body: Json, status: number, answer: Record<string, unknown>): void {
  expect([400, 413, 422], `${at}: ${JSON.stringify(answer)}`).toContain(status);
  const styles = new Set([errorStyleOf(at), styleOf(at, body)]);
  if (typeof answer.error === "string") {
    expect(styles).toContain("text-embeddings-inference");
    expect(answer).toEqual({
      error: expect.stringMatching(/./),
      error_type: expect.stringMatching(/^(Validation|Empty)$/),
    });
    return;
  }
  const { message } = answer;
  expect(answer).toMatchObject({
    error: { message, type: "BadRequestError", code: status },
    object: "error",
    code: status,
  });
  expect(String(message).length).toBeGreaterThan(10);
}

function styleOf(at: string, body: Json): string {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return "openai";
  try {
    return dialectFor(at, body as Record<string, unknown>).errors ?? "openai";
  } catch {
    return "openai";
  }
}
