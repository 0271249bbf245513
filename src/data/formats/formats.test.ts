/** One preference, written in every format that is read: each says the same. */
import { describe, expect, it, test } from "vitest";
import { readPreference } from "../preference.ts";
import { readPromptRecord, readRecord } from "../record.ts";

const question = "Which colour?";
const [better, worse] = ["Red.", "Blue."];
const picture = { type: "image", image: "a.png" };
const text = (content: string) => ({ type: "text", text: content });
const user = (content: unknown) => ({ role: "user", content });
const reply = (content: unknown) => ({ role: "assistant", content });
const image2 = { type: "image", image: "b.png" };
const seen = user([picture, text(question)]);

function accepted(record: object) {
  const read = readRecord(JSON.stringify(record), 0);
  if ("error" in read) throw read.error;
  return read;
}

function refused(record: object): string {
  const read = readRecord(JSON.stringify(record), 0);
  if (!("error" in read)) throw new Error("the record was accepted");
  return read.error.message;
}

describe("a question about a picture, with a better and a worse answer", () => {
  const answers = { chosen: better, rejected: worse };
  const turns = { chosen: [reply(better)], rejected: [reply(worse)] };
  const base64 = "iVBORw0KGgo=";

  test.each<[who: string, format: string, record: object]>([
    ["ours", "messages", { messages: [seen], ...answers }],
    ["ours, answers as parts", "messages", { messages: [seen], chosen: [text(better)], rejected: [text(worse)] }],
    ["ours, answers as turns", "messages", { messages: [seen], chosen: reply(better), rejected: reply(worse) }],
    ["ours, answers as lists of turns", "messages", { messages: [seen], ...turns }],
    ["ours, a picture beside", "messages", { messages: [user(question)], images: ["a.png"], ...answers }],
    ["ours, a mark for it", "messages", { messages: [user(`<image>${question}`)], images: "a.png", ...answers }],
    [
      "ms-swift",
      "messages",
      { messages: [user(`<image>${question}`), reply(better)], rejected_response: worse, images: ["a.png"] },
    ],
    [
      "ms-swift, a list of turns",
      "messages",
      {
        messages: [user(`<image>${question}`), reply(better)],
        rejected_response: [reply(worse)],
        images: [{ path: "a.png" }],
      },
    ],
    [
      "ms-swift, rejected_messages",
      "messages",
      { messages: [seen, reply(better)], rejected_messages: [seen, reply(worse)] },
    ],
    [
      "ms-swift, rejected_images that are the same",
      "messages",
      {
        messages: [user(`<image>${question}`), reply(better)],
        rejected_messages: [user(`<image>${question}`), reply(worse)],
        images: ["a.png"],
        rejected_images: ["a.png"],
      },
    ],
    [
      "TRL, conversational",
      "trl",
      { prompt: [user([{ type: "image" }, text(question)])], images: ["a.png"], ...turns },
    ],
    [
      "TRL, strings as content",
      "trl",
      {
        prompt: [user(question)],
        images: [{ bytes: null, path: "a.png" }],
        chosen: [reply(better)],
        rejected: [reply([text(worse)])],
      },
    ],
    [
      "TRL, the prompt in both",
      "conversation-pairs",
      { chosen: [seen, reply(better)], rejected: [seen, reply(worse)] },
    ],
    [
      "TRL, the prompt in both, pictures beside",
      "conversation-pairs",
      {
        chosen: [user([{ type: "image" }, text(question)]), reply(better)],
        rejected: [user([{ type: "image" }, text(question)]), reply(worse)],
        images: ["a.png"],
      },
    ],
    ["LLaVA-NeXT", "trl", { prompt: `<image>${question}`, image: "a.png", ...answers }],
    [
      "LLaMA-Factory, ShareGPT",
      "sharegpt",
      {
        conversations: [{ from: "human", value: `<image>${question}` }],
        chosen: { from: "gpt", value: better },
        rejected: { from: "gpt", value: worse },
        images: ["a.png"],
      },
    ],
    [
      "LLaMA-Factory, Alpaca",
      "alpaca",
      { instruction: `<image>${question}`, input: "", images: ["a.png"], ...answers },
    ],
    [
      "RLAIF-V",
      "rlaif-v",
      { question, image: { path: "a.png" }, image_path: null, ...answers, idx: "1", origin_split: "{}" },
    ],
    ["MMPR", "rlaif-v", { image: "a.png", question: `<image>${question}`, ...answers }],
  ])("%s", (_, format, record) => {
    const read = accepted({ ...record, id: "x", topic: "colours", difficulty: 3 });
    expect(read).toMatchObject({ id: "x", format, record: { kind: "pair" } });
    const { prompt, answers: found } = read.record;
    expect(prompt).toEqual([seen]);
    const texts = found.map(({ content }) =>
      typeof content === "string" ? content : content.map((part) => part.type === "text" && part.text).join(""),
    );
    expect(texts).toEqual([better, worse]);
    const trained = readPreference(JSON.stringify({ ...record, margin: 2 }), 0);
    expect(trained).toMatchObject({
      format,
      preference: { prefix: [seen], answers: found, pairs: [{ chosen: 0, rejected: 1, margin: 2 }] },
    });
  });

  it("reads bytes, as tables hold them, wherever a picture may stand", () => {
    const image = `data:image/*;base64,${base64}`;
    for (const record of [
      { question, image: { bytes: base64, path: "ignored.png" }, image_path: "where/it/was.png", ...answers },
      { messages: [user(question)], images: [{ path: null, bytes: base64 }], ...answers },
      { messages: [user([{ type: "image", image: { bytes: base64 } }, text(question)])], ...answers },
      { messages: [user([{ type: "image", base64 }, text(question)])], ...answers },
    ]) {
      expect(accepted(record).record.prompt).toEqual([user([{ type: "image", image }, text(question)])]);
    }
  });
});

describe("texts alone", () => {
  const pair = { kind: "pair", prompt: [user("hi")], answers: [reply("hello"), reply("go away")] };

  test.each<[who: string, format: string, record: object]>([
    ["DPO strings", "trl", { prompt: "hi", chosen: "hello", rejected: "go away" }],
    ["HH-RLHF", "hh", { chosen: "\n\nHuman: hi\n\nAssistant: hello", rejected: "\n\nHuman: hi\n\nAssistant: go away" }],
    ["HH-RLHF with a prompt", "trl", { prompt: "\n\nHuman: hi\n\nAssistant:", chosen: "hello", rejected: "go away" }],
    [
      "UltraFeedback",
      "conversation-pairs",
      {
        prompt: "hi",
        prompt_id: "77",
        chosen: [user("hi"), reply("hello")],
        rejected: [user("hi"), reply("go away")],
        messages: [user("hi"), reply("hello")],
        score_chosen: 8,
        score_rejected: 6.5,
      },
    ],
  ])("%s", (_, format, record) => {
    expect(accepted(record)).toEqual({ id: 0, format, record: pair });
  });

  it("reads the turns of a dialogue", () => {
    const before = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c: \n\nd";
    const { record } = accepted({ chosen: `${before}\n\nAssistant: e`, rejected: `${before}\n\nAssistant: f\n` });
    expect(record.prompt).toEqual([user("a"), reply("b"), user("c: \n\nd")]);
    expect(record.answers).toEqual([reply("e"), reply("f")]);
  });

  it("reads instructions with what is given, what was said before, and one answer or several", () => {
    const asked = { instruction: "Add.", input: "2, 2", system: "Be brief.", history: [["hi", "hello"]] };
    const prompt = [{ role: "system", content: "Be brief." }, user("hi"), reply("hello"), user("Add.\n2, 2")];
    expect(accepted({ ...asked, output: "4" }).record).toEqual({ kind: "conversation", prompt, answers: [reply("4")] });
    expect(accepted({ ...asked, output: ["4", "5"] }).record).toMatchObject({ kind: "candidates", prompt });
    expect(readPromptRecord(JSON.stringify(asked), 0)).toMatchObject({ record: { kind: "prompt", prompt } });
  });

  it("reads LLaVA's conversations, tools' answers and ms-swift's system turn", () => {
    const said = (from: string, value: string) => ({ from, value });
    const { record } = accepted({
      image: "a.png",
      conversations: [
        said("human", "<image>\nWhat?"),
        said("gpt", "?"),
        said("observation", "4"),
        said("gpt", "Four."),
      ],
    });
    expect(record).toEqual({
      kind: "conversation",
      prompt: [user([picture, text("\nWhat?")]), reply("?"), { role: "tool", content: "4" }],
      answers: [reply("Four.")],
    });
    const asChat = [user("hi"), reply("hello")];
    expect(accepted({ conversations: asChat }).record).toEqual(accepted({ messages: asChat }).record);
    expect(refused({ conversations: [{ ...said("human", "hi"), image: "a.png" }] })).toContain('"image"');
    expect(accepted({ system: "Be brief.", messages: [user("hi"), reply("hello")] }).record.prompt).toEqual([
      { role: "system", content: "Be brief." },
      user("hi"),
    ]);
  });
});

describe("pictures and videos beside messages", () => {
  const ask = (content: unknown, beside: object) => ({ messages: [user(content), reply("Red.")], ...beside });
  const promptOf = (content: unknown, beside: object) => accepted(ask(content, beside)).record.prompt[0]?.content;
  const image = (name: string) => ({ type: "image", image: name });

  it("fill the marks in order, over all turns", () => {
    const messages = [user("<image>a<image>"), reply("<image> is a tag"), user("b <image>c"), reply("Red.")];
    const { prompt } = accepted({ messages, images: ["1.png", "2.png", "3.png"] }).record;
    expect(prompt).toEqual([
      user([image("1.png"), text("a"), image("2.png")]),
      reply("<image> is a tag"),
      user([text("b "), image("3.png"), text("c")]),
    ]);
  });

  it("fill parts that name none, which keep what they say of it", () => {
    const content = [{ type: "image", max_pixels: 784 }, text("or "), { type: "video", fps: 1 }];
    expect(promptOf(content, { images: ["1.png"], videos: ["1.mp4"] })).toEqual([
      { ...image("1.png"), maxPixels: 784 },
      text("or "),
      { type: "video", video: "1.mp4", fps: 1 },
    ]);
  });

  it("stand before the first question where it has no place for them", () => {
    const beside = { images: ["1.png", "2.png"], video: "1.mp4" };
    expect(promptOf("a", beside)).toEqual([
      image("1.png"),
      image("2.png"),
      { type: "video", video: "1.mp4" },
      text("a"),
    ]);
  });

  it("a video may be its frames", () => {
    const frames = [{ type: "video", video: ["1.png", "2.png"] }, text("a")];
    expect(promptOf("<video>a", { videos: [["1.png", "2.png"]] })).toEqual(frames);
    expect(promptOf("a", { video: ["1.png", "2.png"] })).toEqual(frames);
    expect(promptOf("<video><video>a", { videos: ["1.mp4", "2.mp4"] })).toMatchObject([
      { video: "1.mp4" },
      { video: "2.mp4" },
      {},
    ]);
    expect(refused(ask("a", { video: ["1.png", "2.mp4"] }))).toContain("some of both");
  });

  it("a mark without them is text", () => {
    expect(promptOf("<image> and <video>", {})).toBe("<image> and <video>");
    expect(promptOf("<image> and <video>", { images: ["1.png"] })).toEqual([image("1.png"), text(" and <video>")]);
    expect(promptOf("<image>", { images: null })).toBe("<image>");
  });

  test.each<[found: string, content: unknown, beside: object]>([
    ["found 1 for 2", "<image><image>", { images: ["1.png"] }],
    ["found 3 for 1", "<image>", { images: ["1.png", "2.png", "3.png"] }],
    ["found 0 for 1", "<image>", { images: [] }],
    ["found 2 for 1", "<video>", { videos: ["1.mp4", "2.mp4"] }],
    ["which also have 1 of their own", [image("1.png"), text("a")], { images: ["1.png"] }],
    ["images and image both hold images", "a", { images: ["1.png"], image: "1.png" }],
    ["it names none", [{ type: "image" }, text("a")], {}],
    ["image and url both say where it is", [{ type: "image", image: "1.png", url: "2.png" }], {}],
  ])("refuses: %s", (message, content, beside) => {
    expect(refused(ask(content, beside))).toContain(message);
  });
});

describe("nothing that carries input is ignored", () => {
  const record = { messages: [user("hi")], chosen: "hello", rejected: "go away" };

  test.each<[key: string, value: unknown]>([
    ["audios", ["a.wav"]],
    ["audio", "a.wav"],
    ["objects", { bbox: [[1, 2, 3, 4]] }],
    ["tools", [{ type: "function" }]],
    ["rejected_response", "no"],
    ["prompt", "hi"],
    ["conversations", [{ from: "human", value: "hi" }]],
    ["completion", "hello"],
    ["output", "hello"],
    ["instruction", "hi"],
    ["question", "hi"],
    ["query", "hi"],
    ["history", [["a", "b"]]],
    ["response", "hello"],
    ["screenshot", "c2NyZWVu"],
    ["image_paths", ["x"]],
    ["imagePath", "x"],
    ["img", { path: "x" }],
    ["file", "pictures/a.PNG"],
    ["attachment", { name: "a", where: ["https://example.com/a.jpeg?size=2"] }],
    ["thumb", "data:image/png;base64,iVBORw0KGgo="],
    ["raw", `/9j/${"A".repeat(100)}`],
    ["where", { bytes: "A".repeat(100) }],
    ["clip", "somewhere"],
    ["source_file", "clips/a.mp4"],
  ])("%s is read or refused by name", (key, value) => {
    const message = refused({ ...record, [key]: value });
    expect(message).toContain(key);
    expect(message.length).toBeLessThan(500);
  });

  test.each<[key: string, value: unknown]>([
    ["meta", { image: "a.png", images: ["b.png"], anything: { bytes: "x".repeat(100) } }],
    ["topic", "pictures of cats"],
    ["images", []],
    ["audios", []],
    ["objects", {}],
    ["tools", null],
    ["prompt", ""],
    ["num_images", 3],
    ["has_image", true],
    ["image_id", 1234],
    ["image_size", [224, 224]],
    ["image_source", "COCO"],
    ["image_width", "224"],
    ["video_id", "dQw4w9WgXcQ"],
    ["scores", [1]],
    ["score_chosen", 8.5],
    ["model", "qwen2.5-vl-7b"],
    ["note", "ends with a full stop."],
    ["label", { right: true, votes: [1, 2, 3] }],
  ])("%s as %j is the user's own", (key, value) => {
    expect(accepted({ ...record, [key]: value }).record).toEqual(accepted(record).record);
  });

  it("of a message, too", () => {
    const turn = (extra: object) => ({ messages: [{ ...user("hi"), ...extra }, reply("hello")] });
    for (const [key, value] of Object.entries({
      images: ["a.png"],
      reasoning_content: "hm",
      tool_calls: [{}],
      function_call: { name: "f" },
      audio: { id: "x" },
      refusal: "no",
    })) {
      expect(refused(turn({ [key]: value }))).toContain(key);
    }
    const nothing = {
      tool_calls: [],
      refusal: null,
      audio: null,
      function_call: null,
      reasoning_content: "",
      name: "Ann",
    };
    expect(accepted(turn(nothing)).record.prompt).toEqual([user("hi")]);
  });

  it("however deep a record is", () => {
    const deep = `${'{"a":'.repeat(400)}"x.png"${"}".repeat(400)}`;
    const line = JSON.stringify(record).replace(/}$/, `,"nested":${deep}}`);
    expect(readRecord(line, 0)).toMatchObject({
      error: { code: "invalid_record", message: expect.stringContaining('"nested"') },
    });
  });
});

describe("messages name the format that a record was read as", () => {
  test.each<[format: string, path: string, record: object]>([
    [
      "ShareGPT",
      "conversations[0].value",
      { conversations: [{ from: "human", value: 3 }], chosen: "a", rejected: "b" },
    ],
    ["ShareGPT", "conversations[0].from", { conversations: [{ from: "alien", value: "hi" }] }],
    ["TRL", "prompt[0].role", { prompt: [{ role: "human", content: "hi" }], chosen: "a", rejected: "b" }],
    ["Alpaca", "output", { instruction: "hi", output: 3 }],
    ["RLAIF-V", "rejected", { question: "hi", chosen: "a" }],
    [
      "whole conversations",
      "pair has one prompt",
      { chosen: [user([picture]), reply("a")], rejected: [user([image2]), reply("b")] },
    ],
  ])("%s: %s", (format, path, record) => {
    const message = refused(record);
    expect(message).toContain(path);
    expect(message).toContain(format);
  });
});
