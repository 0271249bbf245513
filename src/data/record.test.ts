import { describe, expect, it } from "vitest";
import type { ErrorCode } from "../errors.ts";
import { readPromptRecord, readRecord } from "./record.ts";

const ask = { role: "user", content: "2 + 2?" };
const reply = { role: "assistant", content: "4" };

function read(record: unknown, line = 0) {
  return readRecord(typeof record === "string" ? record : JSON.stringify(record), line);
}

function accepted(record: unknown) {
  const result = read(record);
  if ("error" in result) throw result.error;
  return result.record;
}

function refused(record: unknown): readonly [ErrorCode, string] {
  const result = read(record);
  if (!("error" in result)) throw new Error("the record was accepted");
  return [result.error.code, result.error.message];
}

/** A record whose user turn holds this part. */
function withPart(part: unknown) {
  return { messages: [{ role: "user", content: [part] }, reply] };
}

function partOf(part: unknown) {
  const content = accepted(withPart(part)).prompt[0]?.content;
  return Array.isArray(content) ? content[0] : undefined;
}

describe("the three kinds of record", () => {
  it("reads a conversation", () => {
    expect(read({ id: "a", messages: [ask, reply] })).toEqual({
      id: "a",
      format: "messages",
      record: { kind: "conversation", prompt: [ask], answers: [reply] },
    });
  });

  it("reads candidates", () => {
    expect(accepted({ messages: [ask], responses: ["4", "", "4"] })).toEqual({
      kind: "candidates",
      prompt: [ask],
      answers: [reply, { ...reply, content: "" }, reply],
    });
  });

  it("reads a pair", () => {
    expect(accepted({ messages: [ask], chosen: "4", rejected: "5" })).toEqual({
      kind: "pair",
      prompt: [ask],
      answers: [reply, { ...reply, content: "5" }],
    });
  });

  it("reads a prompt where prompts are asked for, and nowhere else", () => {
    const line = JSON.stringify({ id: "a", messages: [reply, ask] });
    expect(readPromptRecord(line, 0)).toEqual({
      id: "a",
      format: "messages",
      record: { kind: "prompt", prompt: [reply, ask], answers: [] },
    });
    expect(refused(line)[0]).toBe("no_assistant_turn");
    for (const record of [
      { messages: [ask, reply] },
      { messages: [ask], responses: ["4"] },
      { messages: [ask], chosen: "4", rejected: "5" },
    ]) {
      expect(readPromptRecord(JSON.stringify(record), 3)).toEqual(read(record, 3));
    }
    const systemOnly = JSON.stringify({ messages: [{ role: "system", content: "Be brief." }] });
    expect(readPromptRecord(systemOnly, 0)).toMatchObject({ error: { code: "no_assistant_turn" } });
  });

  it("lets the user's own keys through, on records and messages", () => {
    expect(accepted({ source: "web", label: [1], messages: [{ ...ask, weight: 1 }, reply] }).prompt).toEqual([ask]);
  });

  it("takes null for absent, as tables exported from Arrow have it", () => {
    const part = { type: "text", text: "hi", image: null, video: null, fps: null };
    const record = { id: null, messages: [{ role: "user", content: [part] }, reply], responses: null, chosen: null };
    expect(read(record, 7)).toEqual({
      id: 7,
      format: "messages",
      record: {
        kind: "conversation",
        prompt: [{ role: "user", content: [{ type: "text", text: "hi" }] }],
        answers: [reply],
      },
    });
  });
});

describe("ids", () => {
  it.each([["x"], [""], ["\ud800"], [0], [-1.5], [2 ** 53 - 1]])("returns %j as it is", (id) => {
    expect(read({ id, messages: [ask, reply] }, 9).id).toBe(id);
  });

  it("falls back to the line number", () => {
    expect(read({ messages: [ask, reply] }, 9).id).toBe(9);
    expect(read("nonsense", 9).id).toBe(9);
  });

  it.each(["12345678901234567890", "1e999", "true", "[]", "{}"])("refuses %s", (id) => {
    expect(refused(`{"id": ${id}, "messages": []}`)).toEqual(["invalid_record", expect.stringMatching(/^id: /)]);
  });

  it("keeps the id of a bad record", () => {
    expect(read({ id: "bad", messages: [] }, 3).id).toBe("bad");
  });
});

describe("parts", () => {
  it.each([
    [
      { type: "image_url", image_url: { url: "a.png", detail: "high" } },
      { type: "image", image: "a.png" },
    ],
    [
      { type: "image_url", image_url: "a.png", cache_control: {} },
      { type: "image", image: "a.png" },
    ],
    [
      { type: "image_url", image_url: { url: "a.png" }, min_pixels: 4, max_pixels: 9 },
      { type: "image", image: "a.png", minPixels: 4, maxPixels: 9 },
    ],
    [
      { type: "image", image: "data:,x", resized_height: 28, resized_width: 56 },
      { type: "image", image: "data:,x", resizedHeight: 28, resizedWidth: 56 },
    ],
    [
      {
        type: "video",
        video: "a.mp4",
        fps: 0.5,
        min_frames: 4,
        max_frames: 8,
        video_start: 0,
        video_end: 2.5,
        total_pixels: 100,
        min_pixels: 1,
        max_pixels: 2,
        resized_height: 28,
        resized_width: 28,
      },
      {
        type: "video",
        video: "a.mp4",
        fps: 0.5,
        minFrames: 4,
        maxFrames: 8,
        videoStart: 0,
        videoEnd: 2.5,
        totalPixels: 100,
        minPixels: 1,
        maxPixels: 2,
        resizedHeight: 28,
        resizedWidth: 28,
      },
    ],
    [
      { type: "video", video: ["1.jpg", "2.jpg"], nframes: 2 },
      { type: "video", video: ["1.jpg", "2.jpg"], nframes: 2 },
    ],
  ])("reads %j", (wire, part) => {
    expect(partOf(wire)).toEqual(part);
  });

  it("names an unknown type and the known ones", () => {
    expect(refused(withPart({ type: "input_audio", input_audio: {} }))).toEqual([
      "invalid_record",
      "messages[0].content[0].type: expected a part of a known type (text, image_url, image, video, video_url), " +
        'found the string "input_audio"',
    ]);
  });

  it.each([
    [
      { type: "image", image: "a", max_pixel: 9 },
      'messages[0].content[0]: unknown key "max_pixel"; did you mean "max_pixels"?',
    ],
    [
      { type: "image", image: "a", maxPixels: 9 },
      'messages[0].content[0]: unknown key "maxPixels"; did you mean "max_pixels"?',
    ],
    [{ type: "video", video: "a", nframe: 9 }, 'messages[0].content[0]: unknown key "nframe"; did you mean "nframes"?'],
    [
      { type: "image_url", image_url: { url: "a", detial: "low" } },
      'messages[0].content[0].image_url: unknown key "detial"; did you mean "detail"?',
    ],
    [
      { type: "text", text: "a", image: "b.png" },
      'messages[0].content[0]: unknown key "image"; known keys are type, text, detail, cache_control, uuid',
    ],
  ])("does not overlook the misspelt key in %j", (part, message) => {
    expect(refused(withPart(part))).toEqual(["invalid_record", message]);
  });

  it.each([
    [
      { type: "image_url", image_url: { url: 3 } },
      "messages[0].content[0].image_url.url: expected a string, found the number 3",
    ],
    [
      { type: "image_url" },
      'messages[0].content[0].image_url: expected an object with "url", or an address, found nothing',
    ],
    [{ type: "image", image: "" }, "messages[0].content[0].image: the address is empty"],
    [{ type: "image", image: "a\0b" }, "messages[0].content[0].image: the address holds a NUL character"],
    [
      { type: "image", image: "a", max_pixels: 1.5 },
      "messages[0].content[0].max_pixels: expected a positive whole number below 2^53, found the number 1.5",
    ],
    [
      { type: "image", image: "a", max_pixels: "9" },
      'messages[0].content[0].max_pixels: expected a positive whole number below 2^53, found the string "9"',
    ],
    [{ type: "video", video: ["a", 1] }, "messages[0].content[0].video[1]: expected an address, found the number 1"],
    [
      { type: "video", video: "a", fps: 0 },
      "messages[0].content[0].fps: expected a positive number, found the number 0",
    ],
    [{ type: "text" }, "messages[0].content[0].text: expected a string, found nothing"],
    [
      7,
      "messages[0].content[0]: expected a part of a known type (text, image_url, image, video, video_url), found the number 7",
    ],
  ])("names the path in %j", (part, message) => {
    expect(refused(withPart(part))).toEqual(["invalid_record", message]);
  });
});

describe("turns", () => {
  const system = { role: "system", content: "Be kind." };

  it.each([
    [[system, ask, reply]],
    [[ask, ask, reply]],
    [[reply]],
    [[system, reply]],
    [[ask, reply, reply]],
    [[system, system, ask, reply]],
    [[ask, { role: "tool", content: "4", tool_call_id: "x" }, reply]],
    [[{ role: "developer", content: "Be kind." }, ask, system, reply]],
  ])("leaves it to the chat template which turns may follow which: %j", (messages) => {
    const { prompt, answers } = accepted({ messages });
    expect([...prompt, ...answers]).toEqual(messages.map(({ role, content }) => ({ role, content })));
  });

  it.each([
    [{ messages: [] }, "invalid_roles", "messages: expected at least one turn, found none"],
    [
      { messages: [ask, { role: "gpt", content: "x" }] },
      "invalid_roles",
      'messages[1].role: expected system, user, assistant, tool, developer, found "gpt"',
    ],
    [
      { messages: [ask, reply], responses: ["4"] },
      "invalid_roles",
      "messages must end with a user turn when the record has responses, found assistant last",
    ],
    [
      { messages: [system], chosen: "4", rejected: "5" },
      "invalid_roles",
      "messages must end with a user turn when the record has chosen and rejected, found system last",
    ],
    [
      { messages: [ask] },
      "no_assistant_turn",
      "nothing to score: the last of the messages is the user's; end with an assistant turn, or add responses, or chosen and rejected",
    ],
    [{ messages: [ask], responses: [] }, "empty_candidates", "responses: the list is empty"],
    [
      { messages: [ask], responses: ["4", 5] },
      "invalid_record",
      "responses[1]: expected a string or a list of messages, found the number 5",
    ],
    [
      { messages: [ask], responses: ["4"], chosen: "4" },
      "invalid_record",
      "a record has either responses, or chosen and rejected, but not both",
    ],
    [{ messages: [ask], chosen: "4" }, "invalid_record", "rejected: expected an answer beside chosen, found nothing"],
    [{ messages: [ask], rejected: "4" }, "invalid_record", "chosen: expected an answer beside rejected, found nothing"],
    [{ message: [ask] }, "invalid_record", expect.stringMatching(/^messages: expected a list.*found "message"; docs/)],
    [
      { messages: [ask, { ...reply, content: null, tool_calls: [{}] }] },
      "invalid_record",
      expect.stringMatching(/^messages.1..tool_calls: expected no tool calls/),
    ],
    [
      { messages: [ask, { role: "assistant" }] },
      "invalid_record",
      "messages[1].content: expected a string or a list of parts, found nothing",
    ],
    [
      { messages: [{ content: "x" }] },
      "invalid_record",
      "messages[0].role: expected a role: system, user or assistant, found nothing",
    ],
    [
      { messages: [ask, { ...reply, tool_calls: [{}] }] },
      "invalid_record",
      "messages[1].tool_calls: expected no tool calls, which cannot be scored; put them into the content, found a list",
    ],
  ])("refuses %j", (record, code, message) => {
    expect(refused(record)).toEqual([code, message]);
  });
});

describe("hostile lines", () => {
  const conversation = JSON.stringify([ask, reply]);

  it.each([
    ["null", "invalid_record"],
    ["[]", "invalid_record"],
    ["3", "invalid_record"],
    ['"text"', "invalid_record"],
    ["{", "invalid_json"],
    ["", "invalid_json"],
    [`{"messages": ${conversation}} trailing`, "invalid_json"],
    ["{'messages': []}", "invalid_json"],
    ['{"messages": NaN}', "invalid_json"],
    ['{"messages": "\t"}', "invalid_json"],
    [`{"messages": ${conversation}, "messages": ${conversation}}`, "invalid_record"],
    [`{"messages": ${conversation}, "x": [{"a": 1, "\\u0061": 2}]}`, "invalid_record"],
    ['{"messages": [{"role": "user", "content": "\\ud800"}]}', "invalid_record"],
    ['{"messages": [{"role": "user", "content": "x"}], "responses": ["\\udfff a"]}', "invalid_record"],
    ['{"messages": {"length": 1e9}}', "invalid_record"],
    ['{"messages": [null, null]}', "invalid_record"],
    ['{"messages": [{"role": ["user"], "content": {}}]}', "invalid_record"],
    ['{"messages": [{"role": "user", "content": [[[]]]}]}', "invalid_record"],
    ['{"__proto__": {"messages": []}}', "invalid_record"],
    ['{"messages": [{"role": "user", "content": [{"type": "__proto__"}]}]}', "invalid_record"],
    ['{"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "__proto__": 1}]}]}', "invalid_record"],
    [`{"messages": [{"role": "${"r".repeat(1e6)}", "content": ""}]}`, "invalid_roles"],
    [`{"messages": ${"[".repeat(200_000)}${"]".repeat(200_000)}}`, "invalid_record"],
    [`{"messages": ${'{"a":'.repeat(200_000)}1${"}".repeat(200_000)}}`, "invalid_record"],
  ])("gives an error line for %.60s", (line, code) => {
    const [found, message] = refused(line);
    expect(found).toBe(code);
    expect(message.length).toBeLessThan(250);
    expect(message).not.toContain("\n");
  });

  it("reads what only looks hostile", () => {
    const emoji = '\u{1F600} \\" {"a": [,]} \u2028';
    expect(
      accepted({ messages: [{ role: "user", content: emoji }, reply], a: { x: 1 }, b: { x: 1 } }).prompt[0],
    ).toEqual({
      role: "user",
      content: emoji,
    });
  });

  it("reads 100,000 candidates and a data URL of 20 MB", () => {
    const responses = Array.from({ length: 100_000 }, String);
    const image = `data:image/png;base64,${"A".repeat(20_000_000)}`;
    expect(accepted({ messages: [{ role: "user", content: [{ type: "image", image }] }], responses })).toEqual({
      kind: "candidates",
      prompt: [{ role: "user", content: [{ type: "image", image }] }],
      answers: responses.map((content) => ({ role: "assistant", content })),
    });
  });
});
