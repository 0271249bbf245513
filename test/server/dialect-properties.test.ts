/** @file What holds of all dialects: one conversation means the same everywhere, and no body makes one of them fail otherwise than in words. */

import path from "node:path";
import { describe, expect, test } from "vitest";
import type { Message, Part } from "../../src/conversation.ts";
import { VlRewardError } from "../../src/errors.ts";
import type { Body, Task } from "../../src/server/dialects/dialect.ts";
import { dialectFor, dialects, dialectsOf, errorStyleOf } from "../../src/server/dialects/dialects.ts";
import { ChatTemplate } from "../../src/tokenizer/chat-template.ts";
import { type Json, mutated } from "../fuzz/json.ts";
import { oneOf, type Random, randomOf } from "../fuzz/random.ts";

const answering = { model: "served", id: "0123abcd", created: 1_700_000_000 };
const template = await ChatTemplate.load(path.join(import.meta.dirname, "../../models/tiny"));

const picture =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const rendered = (messages: readonly Message[]): string =>
  template
    .render(messages)
    .map(({ text }) => text)
    .join("");

/** A conversation whose system turn the template does not have to add. */
function conversation(random: Random, hasPictures: boolean): readonly Message[] {
  const words = () =>
    Array.from({ length: 1 + random(4) }, () => oneOf(random, ["How", "many?\n", " 4", "<b>", "é", "|", "\n"])).join(
      " ",
    );
  const asked = (): Message => {
    if (!hasPictures || random(3) === 0) return { role: "user", content: words() };
    const parts: Part[] = Array.from({ length: 1 + random(2) }, () => ({
      type: "image",
      image: `${picture}#${random(1000)}`,
    }));
    return { role: "user", content: [...parts, { type: "text", text: words() }] };
  };
  const rounds = Array.from({ length: 1 + random(3) }, () => [
    asked(),
    { role: "assistant", content: words() } as const,
  ]);
  return [{ role: "system", content: words() }, ...rounds.flat()];
}

const picturesOf = (messages: readonly Message[]): string[] =>
  messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.flatMap((part) => (part.type === "image" ? [part.image] : [])),
  );

/** As OpenAI's clients write it. */
const wire = (messages: readonly Message[]): Json =>
  messages.map(({ role, content }) => ({
    role,
    content:
      typeof content === "string"
        ? content
        : content.map((part) =>
            part.type === "image"
              ? { type: "image_url", image_url: { url: part.image } }
              : { type: "text", text: part.type === "text" ? part.text : "" },
          ),
  }));

/** The turns of a task, each with its texts joined: how a text is cut into parts is nobody's business. */
function turnsOf(task: Task | undefined): unknown {
  if (task === undefined || "written" in task) return task;
  return [...task.prompt, ...task.answers].map(({ role, content }) => ({
    role,
    content: typeof content === "string" ? [content] : content.map((part) => (part.type === "text" ? part.text : part)),
  }));
}

const read = (at: string, body: Body): readonly Task[] => dialectFor(at, body).read(body, at).tasks;

/** As a policy leaves it: stopped at the end of its turn or not, padded at both ends, a token for each part of a picture. */
function asPolicyLeaves(text: string, random: Random): string {
  const stopped = oneOf(random, [text, text.trimEnd(), text.slice(0, text.lastIndexOf("<|im_end|>"))]);
  const seen = stopped.replaceAll("<|image_pad|>", () => "<|image_pad|>".repeat(1 + random(300)));
  return "<|endoftext|>".repeat(random(3) * 100) + seen + "<|endoftext|>".repeat(random(3));
}

describe("one conversation", () => {
  test("is read out of what the template renders of it, however a policy leaves that", () => {
    for (let attempt = 0; attempt < 300; attempt++) {
      const random = randomOf(attempt);
      const messages = conversation(random, attempt % 2 === 0);
      const text = asPolicyLeaves(rendered(messages), random);
      const images = picturesOf(messages);
      const bodies: [string, Body][] = [
        ["/get_reward", { query: [text], labels: [{ images }] }],
        ["/get_reward", { query: [text], prompts: [JSON.stringify(wire(messages.slice(0, -1)))], labels: ["x"] }],
        ["/", { queries: [text], prompts: [""], images: [images.length > 0 ? images : null] }],
      ];
      for (const [at, body] of bodies) {
        expect(turnsOf(read(at, body)[0])).toEqual(
          turnsOf({ prompt: messages.slice(0, -1), answers: messages.slice(-1) }),
        );
      }
    }
  });

  test("of texts is the same task in every dialect", () => {
    for (let attempt = 0; attempt < 100; attempt++) {
      const messages = conversation(randomOf(attempt), false);
      const [system, question, answer] = [messages[0]?.content, messages[1]?.content, messages[2]?.content].map(String);
      const turns = messages.slice(0, 3);
      const whole = rendered(turns);
      const opened = whole.slice(0, whole.lastIndexOf(`${answer}<|im_end|>`));
      const bodies: [string, Body][] = [
        ["/get_reward", { prompt: wire(turns.slice(0, 2)), response: answer }],
        ["/get_reward", { prompt: opened, response: `${answer}<|im_end|>` }],
        ["/get_reward", { prompts: [opened], responses: [answer] }],
        ["/v1/score/evaluation", { model: "model", messages: [whole] }],
        ["/classify", { messages: wire(turns) }],
        ["/classify", { input: [whole], raw_scores: true }],
        ["/pooling", { messages: wire(turns) }],
        ["/v1/embeddings", { input: [wire(turns)] }],
        ["/v1/chat/completions", { messages: wire(turns) }],
        ["/score", { queries: question, documents: answer, instruction: system }],
        ["/v1/score", { query: opened, items: [answer] }],
        ["/rerank", { query: question, documents: [answer], instruction: system }],
        ["/v1/rerank", { query: question, documents: [answer], instruct: system }],
        ["/predict", { inputs: whole }],
      ];
      for (const [at, body] of bodies)
        expect(turnsOf(read(at, body)[0]), at).toEqual(turnsOf({ prompt: turns.slice(0, 2), answers: turns.slice(2) }));
      const written: [string, Body][] = [
        ["/classify", { input: whole }],
        ["/classify", { text: whole }],
        ["/pooling", { input: [whole] }],
        ["/v1/embeddings", { input: whole }],
      ];
      for (const [at, body] of written) expect(read(at, body), at).toEqual([{ written: whole, media: [] }]);
    }
  });

  test("of a question is the same task in those that have no system turn", () => {
    const [question, answer] = ["2+2?", "4"];
    const bodies: [string, Body][] = [
      ["/get_reward", { prompts: [question], responses: [answer] }],
      ["/get_reward", { prompt: question, response: answer }],
      ["/rerank", { query: question, texts: [answer] }],
      ["/rerank", { query: question, documents: [answer], raw_scores: true }],
      ["/predict", { inputs: [question, answer] }],
      ["/v1/score", { query: question, items: answer }],
      ["/v1/score", { text_1: question, text_2: answer }],
    ];
    const expected = {
      prompt: [{ role: "user", content: question }],
      answers: [{ role: "assistant", content: answer }],
    };
    for (const [at, body] of bodies) expect(read(at, body), at).toEqual([expected]);
  });
});

test("[] is answered with as many rewards", () => {
  const bodies: [string, Body, unknown][] = [
    ["/get_reward", { query: [], labels: [] }, { rewards: [], scores: [] }],
    ["/", { queries: [], prompts: [], images: [] }, { rewards: [] }],
    ["/get_reward", { prompts: [], responses: [] }, { rewards: [] }],
  ];
  for (const [at, body, answer] of bodies) {
    expect(dialectFor(at, body).read(body, at).answer([], answering)).toEqual(answer);
  }
});

describe("dialects", () => {
  test.each(dialects.map((dialect) => [dialect.name, dialect] as const))(
    "%s reads its own example on its paths",
    (_, dialect) => {
      for (const at of dialect.paths) {
        const body = dialect.example;
        const first = dialectFor(at, body);
        if (at === "/invocations") expect(dialectsOf(at).find(({ detects }) => detects(body, at))).toBe(first);
        else expect(first).toBe(dialect);
        const { tasks, answer } = first.read(body, at);
        const results = tasks.map((task) => ({
          scores: "written" in task ? [0.5] : task.answers.map(() => 0.5),
          tokens: 9,
        }));
        expect(JSON.stringify(answer(results, answering))).not.toContain("null,null");
      }
    },
  );

  test("a body that is nobody's is told all shapes of its path, as its clients read errors", () => {
    for (const at of new Set(dialects.flatMap(({ paths }) => paths))) {
      try {
        dialectFor(at, { nonsense: 1 });
        expect.unreachable();
      } catch (error) {
        if (!(error instanceof VlRewardError)) throw error;
        expect(error.code).toBe("invalid_request");
        for (const { shape } of dialectsOf(at)) expect(error.message).toContain(shape);
      }
    }
    expect([errorStyleOf("/rerank"), errorStyleOf("/predict"), errorStyleOf("/elsewhere")]).toEqual([
      "openai",
      "text-embeddings-inference",
      "openai",
    ]);
  });

  test("2,000 mutated bodies are read, or refused in words that name a key", () => {
    const message = (role: string, content: Json) => ({ role, content });
    const seen = message("user", [{ type: "image_url", image_url: { url: picture } }, "How many?"]);
    const bodies: [string, Json][] = dialects.flatMap(({ paths, example }) =>
      paths.map((at): [string, Json] => [at, example as unknown as Json]),
    );
    const place = "<|vision_start|><|image_pad|><|vision_end|>";
    const turns = `<|im_start|>user\n${place}How many?<|im_end|>\n<|im_start|>assistant\n3<|im_end|>`;
    bodies.push(
      [
        "/get_reward",
        { query: [turns, turns], prompts: [null, JSON.stringify([seen])], labels: [{ images: [picture] }, 1] },
      ],
      ["/score", { queries: [turns], prompts: ["x"], images: [[picture]] }],
      ["/", { prompt: [seen], response: "3", label: null }],
      [
        "/classify",
        {
          messages: [seen, message("assistant", "3")],
          mm_processor_kwargs: { max_pixels: 3136 },
          media_io_kwargs: { video: { fps: 2 } },
        },
      ],
      ["/classify", { text: [turns, "x"], image_data: [[picture], null], rid: ["a", "b"] }],
      ["/v1/embeddings", { input: [{ text: turns, image: picture }, { text: "x" }] }],
      [
        "/rerank",
        {
          query: { content: [{ type: "image", image: picture }] },
          documents: ["3", { content: ["4"] }],
          max_tokens_per_doc: 5,
          top_n: 1,
        },
      ],
      [
        "/v1/chat/completions",
        { messages: [message("user", "<image>How many?"), message("assistant", "3")], images: [{ bytes: "aGVsbG8=" }] },
      ],
    );
    let refused = 0;
    for (let attempt = 0; attempt < 2000; attempt++) {
      const random = randomOf(attempt);
      const [at, whole] = oneOf(random, bodies);
      const body = mutated(whole, random);
      if (typeof body !== "object" || body === null || Array.isArray(body)) continue; // refused before
      try {
        const { tasks, answer } = dialectFor(at, body as Body).read(body as Body, at);
        for (const task of tasks) assertWhole(task);
        const results = tasks.map((task) => ({
          scores: "written" in task ? [0.5] : task.answers.map(() => 0.5),
          tokens: 2,
        }));
        const told = JSON.stringify(answer(results, answering));
        // The reward, its sigmoid, in base64, in bytes; none where none was asked for.
        if (tasks.length > 0) expect(told).toMatch(/0\.5|0\.6224593|AAAAPw|"bytes"/);
      } catch (error) {
        if (!(error instanceof VlRewardError)) throw error;
        refused++;
        expect(error.message).toMatch(/^[\w/]+[^:]*: |^the body has |expected |exclude each other|Input lengths/);
      }
    }
    expect(refused).toBeGreaterThan(500);
  });
});

/** An answer at the least, and a medium for every part that is one. */
function assertWhole(task: Task): void {
  if ("written" in task) {
    expect(task.written.length).toBeGreaterThan(0);
    return;
  }
  expect(task.answers.length).toBeGreaterThan(0);
  for (const { role } of task.answers) expect(role).toBe("assistant");
  for (const { content } of [...task.prompt, ...task.answers]) {
    if (typeof content === "string") continue;
    for (const part of content) {
      expect(part.type === "text" ? part.text : part.type === "image" ? part.image : part.video).toBeDefined();
    }
  }
}
