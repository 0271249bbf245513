/**
 * @file One conversation has one number on every path, to the bit, and it is the reference's (test/fixtures/parity): as messages, as
 * the text that the template renders and as a policy leaves it, as a prompt, as tokens, as a question with its answer.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ChatTemplate } from "../../src/tokenizer/chat-template.ts";
import { parityFolder, post, startServer, type TestServer } from "./serving.ts";

interface WirePart {
  readonly type: string;
  readonly text?: string;
  readonly image?: string;
}
interface WireMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string | readonly WirePart[];
}
interface Case {
  readonly id: string;
  readonly messages: readonly WireMessage[];
}

const linesOf = (file: string) =>
  readFileSync(path.join(parityFolder, file), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const expected = new Map<string, number>(linesOf("plain.scores.jsonl").map(({ id, score }) => [id, score]));
const base64Of = (file: string) => readFileSync(path.join(parityFolder, file)).toString("base64");

/** Conversations whose pictures say nothing but where they lie. */
const plainCases = ["text", "system", "turns", "odd", "tiny", "wide", "alpha", "exif", "several", "across"];
const cases: readonly Case[] = linesOf("cases.jsonl").filter(({ id }) => plainCases.includes(id));

const partsOf = ({ content }: WireMessage): readonly WirePart[] =>
  typeof content === "string" ? [{ type: "text", text: content }] : content;
const picturesOf = ({ messages }: Case): string[] =>
  messages.flatMap((message) => partsOf(message).flatMap(({ image }) => image ?? []));

/** The messages, each picture replaced by a part. */
const withPictures = ({ messages }: Case, part: (file: string) => object) =>
  messages.map(({ role, content }) => ({
    role,
    content:
      typeof content === "string" ? content : content.map((one) => (one.image === undefined ? one : part(one.image))),
  }));

let server: TestServer;
let template: ChatTemplate;
const registered = new Map<string, string>();

beforeAll(async () => {
  server = await startServer();
  template = await ChatTemplate.load(path.join(parityFolder, "plain"));
  for (const file of new Set(cases.flatMap(picturesOf))) {
    const bytes = readFileSync(path.join(parityFolder, file));
    const { statusCode, body } = await server.app.inject({
      method: "POST",
      url: "/v1/media",
      payload: bytes,
      headers: { "content-type": "image/png" },
    });
    expect(statusCode).toBe(201);
    registered.set(file, JSON.parse(body).id);
  }
});
afterAll(() => server.close());

/** What the template makes of the conversation, each picture's place written by `place`. */
function rendered({ messages }: Case, place: (file: string) => string): string {
  const files = picturesOf({ id: "", messages })[Symbol.iterator]();
  const turns = messages.map((message) => ({
    role: message.role,
    content: partsOf(message).map(({ type, text = "", image }) =>
      type === "text" || image === undefined ? ({ type: "text", text } as const) : ({ type: "image", image } as const),
    ),
  }));
  const text = template
    .render(turns)
    .map((segment) => segment.text)
    .join("");
  return text.replaceAll("<|vision_start|><|image_pad|><|vision_end|>", () => place(files.next().value ?? ""));
}

const onePad = () => "<|vision_start|><|image_pad|><|vision_end|>";
const manyPads = () => `<|vision_start|>${"<|image_pad|>".repeat(37)}<|vision_end|>`;
const padded = (text: string) => `${"<|endoftext|>".repeat(300)}${text.trimEnd()}<|endoftext|>`;
const cut = (text: string) => text.slice(0, text.lastIndexOf("<|im_end|>"));
const mark = (file: string) => `<${registered.get(file)}>`;

/** Every way to ask for a conversation that has pictures: its name, where, what, and where in the answer the number is. */
function requests(one: Case): [string, string, object, (answer: never) => unknown][] {
  const text = rendered(one, onePad);
  const files = picturesOf(one);
  const images = files.map(base64Of);
  const dataUrls = files.map((file) => `data:image/*;base64,${base64Of(file)}`);
  const openai = withPictures(one, (file) => ({
    type: "image_url",
    image_url: { url: `data:image/*;base64,${base64Of(file)}`, detail: "auto" },
  }));
  const known = withPictures(one, (file) => ({ type: "image_url", image_url: null, uuid: registered.get(file) }));
  const bytes = withPictures(one, (file) => ({ type: "image", image: { bytes: base64Of(file) } }));
  const answer = String(partsOf(one.messages.at(-1) ?? { role: "user", content: "" })[0]?.text);
  const prompt = openai.slice(0, -1);
  const opened = text.slice(0, text.lastIndexOf(`${answer}<|im_end|>`));
  type Rewards = { rewards: number[] };
  const firstReward = ({ rewards }: Rewards) => rewards[0];
  return [
    [
      "rewards",
      "/v1/rewards",
      { items: [{ messages: openai }] },
      (a: { data: { score: number }[] }) => a.data[0]?.score,
    ],
    [
      "openrlhf, labels",
      "/get_reward",
      { query: [padded(rendered(one, manyPads))], labels: [{ images: dataUrls }] },
      firstReward,
    ],
    [
      "openrlhf, JSON prompts",
      "/",
      { query: [cut(rendered(one, manyPads))], prompts: [JSON.stringify(prompt)] },
      firstReward,
    ],
    ["openrlhf, marks", "/get_reward", { query: [rendered(one, mark)] }, firstReward],
    ["lightrft", "/score", { queries: [text], prompts: [""], images: [files.length > 0 ? images : null] }, firstReward],
    ["slime, messages", "/get_reward", { prompt, response: answer, label: "" }, (a: number) => a],
    ["slime, rendered", "/", { prompt: opened, response: answer, label: { images: dataUrls } }, (a: number) => a],
    [
      "llamafactory",
      "/v1/score/evaluation",
      { model: "model", messages: [padded(rendered(one, mark))] },
      (a: { scores: number[] }) => a.scores[0],
    ],
    ["vllm classify", "/classify", { messages: openai }, (a: { data: { probs: number[] }[] }) => a.data[0]?.probs[0]],
    [
      "vllm classify, uuid",
      "/classify",
      { messages: known },
      (a: { data: { probs: number[] }[] }) => a.data[0]?.probs[0],
    ],
    [
      "vllm classify, marks",
      "/classify",
      { input: [rendered(one, mark)] },
      (a: { data: { probs: number[] }[] }) => a.data[0]?.probs[0],
    ],
    [
      "vllm pooling",
      "/pooling",
      { messages: bytes, encoding_format: "base64" },
      (a: { data: { data: string }[] }) => fromBase64(a.data[0]?.data),
    ],
    ["sglang classify", "/classify", { text, image_data: images }, (a: { embedding: number[] }) => a.embedding[0]],
    [
      "sglang classify, several",
      "/encode",
      { text: [text], image_data: [files.length > 0 ? dataUrls : null] },
      (a: { embedding: number[] }[]) => a[0]?.embedding[0],
    ],
    [
      "infinity classify",
      "/classify",
      { input: [cut(rendered(one, mark))], raw_scores: true },
      (a: { data: { score: number }[][] }) => a.data[0]?.[0]?.score,
    ],
    ["predict", "/predict", { inputs: rendered(one, mark), raw_scores: true }, (a: { score: number }[]) => a[0]?.score],
    [
      "embeddings",
      "/v1/embeddings",
      { input: [openai], encoding_format: "base64" },
      (a: { data: { embedding: string }[] }) => fromBase64(a.data[0]?.embedding),
    ],
    [
      "chat",
      "/v1/chat/completions",
      { model: "x", messages: openai },
      (a: { choices: { message: { content: string } }[] }) => Number(a.choices[0]?.message.content),
    ],
  ];
}

/** As OpenAI's clients decode a vector; the nearest float32 of the decimal that JSON has. */
const fromBase64 = (text = ""): number => Buffer.from(text, "base64").readFloatLE();

describe("one conversation, one number", () => {
  test.each(cases.map((one) => [one.id, one] as const))("%s", async (id, one) => {
    const native = expected.get(id) ?? Number.NaN;
    const found: Record<string, unknown> = {};
    for (const [name, url, body, numberOf] of requests(one)) {
      const answer = await post(server, url, body);
      expect(answer.status, `${name}: ${answer.text}`).toBe(200);
      found[name] = Math.fround(Number(numberOf(answer.body as never)));
    }
    const numbers = Object.values(found);
    expect(new Set(numbers).size, JSON.stringify(found)).toBe(1);
    expect(Math.abs(Number(numbers[0]) - native)).toBeLessThan(5e-5);
  });

  test("of two turns as a pair, alone and beside others", async () => {
    const [question, answer, other] = ["What is 2+2?", "It is 4, of course.", "It is 5."];
    const native = expected.get("text") ?? Number.NaN;
    const bodies: [string, object, (answer: never) => unknown][] = [
      ["/get_reward", { prompts: [question], responses: [answer] }, (a: { rewards: number[] }) => a.rewards[0]],
      [
        "/score",
        { queries: question, documents: [other, answer] },
        (a: { data: { score: number }[] }) => a.data[1]?.score,
      ],
      ["/v1/score", { query: question, items: [other, answer] }, (a: { scores: number[][] }) => a.scores[1]?.[0]],
      [
        "/rerank",
        { query: question, documents: [other, answer, other] },
        (a: { results: { index: number; relevance_score: number }[] }) =>
          a.results.find(({ index }) => index === 1)?.relevance_score,
      ],
      ["/rerank", { query: question, texts: [answer], raw_scores: true }, (a: { score: number }[]) => a[0]?.score],
      [
        "/rerank",
        { query: question, documents: [answer], raw_scores: true },
        (a: { results: { relevance_score: number }[] }) => a.results[0]?.relevance_score,
      ],
      ["/predict", { inputs: [question, answer], raw_scores: true }, (a: { score: number }[]) => a[0]?.score],
    ];
    const numbers = new Set<unknown>();
    for (const [url, body, numberOf] of bodies) {
      const told = await post(server, url, body);
      expect(told.status, told.text).toBe(200);
      numbers.add(numberOf(told.body as never));
    }
    expect(numbers.size).toBe(1);
    expect(Math.abs(Number([...numbers][0]) - native)).toBeLessThan(5e-5);
  });

  test("with a picture that a text marks, as with one that is sent", async () => {
    const [question, answer] = ["What is this?", "A gradient with waves."];
    const asked = (content: string) => [
      { role: "user", content },
      { role: "assistant", content: answer },
    ];
    const marked = `${mark("media/odd.jpg")}${question}`;
    const native = await post(server, "/v1/rewards", { items: [{ messages: asked(marked) }] });
    const chat = await post(server, "/v1/chat/completions", { messages: asked(marked) });
    const ranked = await post(server, "/rerank", { query: marked, documents: [answer] });
    const numbers = [
      native.body.data[0].score,
      Number(chat.body.choices[0].message.content),
      ranked.body.results[0].relevance_score,
    ];
    expect(new Set(numbers).size).toBe(1);
    expect(Math.abs(numbers[0] - (expected.get("odd") ?? Number.NaN))).toBeLessThan(5e-5);
  });

  test("the tokens that /tokenize gives have it, too", async () => {
    const [one] = cases;
    if (!one) throw new Error("there is a case");
    const { body } = await post(server, "/tokenize", { messages: one.messages });
    const classified = await post(server, "/classify", { input: body.tokens });
    const text = await post(server, "/classify", { input: rendered(one, onePad) });
    expect(classified.body.data).toEqual(text.body.data);
    expect(Math.abs(classified.body.data[0].probs[0] - (expected.get("text") ?? Number.NaN))).toBeLessThan(5e-5);
  });
});
