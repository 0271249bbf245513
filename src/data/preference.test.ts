import { describe, expect, it, test } from "vitest";
import { readPreference } from "./preference.ts";

const ask = { role: "user", content: "2 + 2?" };
const reply = (content: unknown) => ({ role: "assistant", content });
const pair = { messages: [ask], chosen: "4", rejected: "5" };

function accepted(record: unknown) {
  const read = readPreference(JSON.stringify(record), 7);
  if ("error" in read) throw read.error;
  return read.preference;
}

function refused(record: unknown): readonly [string, string] {
  const read = readPreference(typeof record === "string" ? record : JSON.stringify(record), 7);
  if ("preference" in read) throw new Error("the record was accepted");
  return [read.error.code, read.error.message];
}

describe("two answers to one prompt", () => {
  it("reads strings, with margin 0, weight 1 and the line's number where nothing else is said", () => {
    expect(accepted(pair)).toEqual({
      id: 7,
      prefix: [ask],
      answers: [reply("4"), reply("5")],
      pairs: [{ chosen: 0, rejected: 1, margin: 0, weight: 1 }],
      source: undefined,
    });
  });

  it("reads id, margin, weight and source, and lets the user's own keys through", () => {
    const { id, pairs, source } = accepted({
      ...pair,
      id: "a",
      margin: 0.5,
      weight: 2,
      source: "web",
      topic: ["sums"],
    });
    expect([id, pairs, source]).toEqual(["a", [{ chosen: 0, rejected: 1, margin: 0.5, weight: 2 }], "web"]);
  });

  it("takes null for absent", () => {
    const nulls = { id: null, margin: null, weight: null, source: null, responses: null, scores: null };
    expect(accepted({ ...pair, ...nulls })).toEqual(accepted(pair));
  });

  it("takes an empty answer for an answer", () => {
    expect(accepted({ ...pair, rejected: "" }).answers).toEqual([reply("4"), reply("")]);
  });
});

describe("log-probabilities under a reference policy", () => {
  it("belong to the answers: chosen and rejected, in this order", () => {
    expect(accepted({ ...pair, reference_log_probs: [-3.5, -0.25] }).referenceLogProbs).toEqual([-3.5, -0.25]);
    const chosen = [ask, reply("4")];
    const conversations = { chosen, rejected: [ask, reply("5")], reference_log_probs: [-1, -2] };
    expect(accepted(conversations).referenceLogProbs).toEqual([-1, -2]);
    expect(accepted({ ...pair, reference_log_probs: null }).referenceLogProbs).toBeUndefined();
  });

  it("stand in the order of responses, of which equal ones are one answer", () => {
    const several = { messages: [ask], responses: ["4", "5", "4", "6"], scores: [2, 1, 2, 0] };
    const { answers, referenceLogProbs } = accepted({ ...several, reference_log_probs: [-1, -2, -1, -3] });
    expect(answers).toEqual(["4", "5", "6"].map(reply));
    expect(referenceLogProbs).toEqual([-1, -2, -3]);
    expect(refused({ ...several, reference_log_probs: [-1, -2, -1.5, -3] })).toEqual([
      "invalid_record",
      "reference_log_probs: two answers are equal, but their numbers are -1 and -1.5",
    ]);
  });

  test.each<[found: string, numbers: unknown, message: string]>([
    ["too few", [-1], "reference_log_probs: expected as many numbers as answers, found 1 for 2"],
    ["too many", [-1, -2, -3], "reference_log_probs: expected as many numbers as answers, found 3 for 2"],
    ["no number", [-1, "-2"], 'reference_log_probs[1]: expected a finite number, found the string "-2"'],
    ["an object", { chosen: -1 }, "reference_log_probs: expected a list of numbers, found an object"],
  ])("refuses %s", (_, numbers, message) => {
    expect(refused({ ...pair, reference_log_probs: numbers })).toEqual(["invalid_record", message]);
  });

  it("refuses a number that JSON reads as infinite", () => {
    const line = JSON.stringify(pair).replace(/}$/, ', "reference_log_probs": [-1e999, -1]}');
    expect(refused(line)[0]).toBe("invalid_record");
  });
});

describe("whole conversations", () => {
  it("reads Skywork-Reward-Preference's records: the prompt is what both have in common", () => {
    const turns = [ask, reply("4"), { role: "user", content: "Sure?" }];
    const line =
      '{"chosen": [{"content": "2 + 2?", "role": "user"}, {"content": "4", "role": "assistant"}, ' +
      '{"content": "Sure?", "role": "user"}, {"content": "Yes.", "role": "assistant"}], ' +
      '"rejected": [{"content": "2 + 2?", "role": "user"}, {"content": "4", "role": "assistant"}, ' +
      '{"content": "Sure?", "role": "user"}, {"content": "No.", "role": "assistant"}], "source": "magpie_ultra"}';
    expect(readPreference(line, 3)).toEqual({
      id: 3,
      format: "conversation-pairs",
      preference: {
        id: 3,
        prefix: turns,
        answers: [reply("Yes."), reply("No.")],
        pairs: [{ chosen: 0, rejected: 1, margin: 0, weight: 1 }],
        source: "magpie_ultra",
      },
    });
  });

  it("compares what prompts say, not how they are written", () => {
    const url = { type: "image_url", image_url: { url: "a.png", detail: "low" } };
    const image = { image: "a.png", type: "image" };
    const text = (content: string) => ({ type: "text", text: content });
    const prompt = (...content: unknown[]) => ({ role: "user", content });
    const { prefix } = accepted({
      chosen: [prompt(url, text("Which "), text("colour?")), reply("Red.")],
      rejected: [prompt(image, text("Which colour?")), reply("Blue.")],
    });
    expect(prefix).toEqual([prompt(image, text("Which "), text("colour?"))]);
  });

  test.each<[found: string, code: string, chosen: unknown, rejected: unknown]>([
    ["another prompt", "invalid_record", [ask, reply("4")], [{ ...ask, content: "2 + 3?" }, reply("5")]],
    [
      "another picture",
      "invalid_record",
      [{ role: "user", content: [{ type: "image", image: "a.png" }] }, reply("4")],
      [{ role: "user", content: [{ type: "image", image: "b.png" }] }, reply("5")],
    ],
    ["another number of turns", "invalid_record", [ask, reply("4")], [ask, reply("4"), ask, reply("5")]],
    ["equal answers", "invalid_record", [ask, reply("4")], [ask, reply([{ type: "text", text: "4" }])]],
    ["a user turn last", "no_assistant_turn", [ask, reply("4"), ask], [ask, reply("5")]],
    ["no prompt", "invalid_record", [reply("4")], [reply("5")]],
    ["no user turn before the answer", "invalid_roles", [ask, reply("4"), reply("5")], [ask, reply("4"), reply("6")]],
    ["no turns", "invalid_roles", [], [ask, reply("4")]],
    ["a string beside a list", "invalid_record", [ask, reply("4")], "5"],
  ])("refuses %s", (_, code, chosen, rejected) => {
    expect(refused({ chosen, rejected })[0]).toBe(code);
  });

  it("says where a turn is wrong", () => {
    const chosen = [ask, { role: "gpt", content: "4" }];
    expect(refused({ chosen, rejected: chosen })[1]).toBe(
      'chosen[1].role: expected system, user, assistant, tool, developer, found "gpt" ' +
        "(read as pairs of whole conversations (chosen, rejected))",
    );
    const misspelt = [{ role: "user", content: [{ type: "image", image: "a.png", max_pixel: 9 }] }, reply("4")];
    expect(refused({ chosen: misspelt, rejected: misspelt })[1]).toContain('did you mean "max_pixels"?');
  });

  it("takes messages beside them that repeat the prompt or chosen, as UltraFeedback has them, and no others", () => {
    const conversations = { chosen: [ask, reply("4")], rejected: [ask, reply("5")] };
    const alone = accepted(conversations);
    expect(accepted({ ...conversations, messages: [ask] })).toEqual(alone);
    expect(accepted({ ...conversations, messages: [ask, reply("4")], prompt: "2 + 2?" })).toEqual(alone);
    const other = [{ role: "user", content: "3 + 3?" }];
    expect(refused({ ...conversations, messages: other })[1]).toContain("messages are neither the prompt");
    expect(refused({ ...conversations, prompt: "3 + 3?" })[1]).toContain("prompt is not the prompt");
  });
});

describe("several answers with scores", () => {
  it("forms every pair of different scores, the higher one chosen", () => {
    const { answers, pairs } = accepted({ messages: [ask], responses: ["a", "b", "c"], scores: [1, 3, 1], margin: 2 });
    expect(answers).toEqual([reply("a"), reply("b"), reply("c")]);
    expect(pairs).toEqual([
      { chosen: 1, rejected: 0, margin: 2, weight: 1 },
      { chosen: 1, rejected: 2, margin: 2, weight: 1 },
    ]);
  });

  it("has n (n - 1) / 2 pairs where all scores differ, each agreeing with its scores", () => {
    const scores = [0.5, -1, 7, 2.25, 3];
    const { pairs } = accepted({ messages: [ask], responses: ["a", "b", "c", "d", "e"], scores });
    expect(pairs).toHaveLength(10);
    expect(pairs.every(({ chosen, rejected }) => (scores[chosen] ?? 0) > (scores[rejected] ?? 0))).toBe(true);
    expect(new Set(pairs.map(({ chosen, rejected }) => [chosen, rejected].sort().join())).size).toBe(10);
  });

  it("has equal answers once", () => {
    const { answers, pairs } = accepted({ messages: [ask], responses: ["a", "b", "a"], scores: [1, 2, 1] });
    expect([answers.length, pairs.length]).toEqual([2, 1]);
  });

  test.each<[found: string, record: object]>([
    ["as many scores as responses", { responses: ["a", "b"], scores: [1] }],
    ["no two answers have different scores", { responses: ["a", "b"], scores: [1, 1] }],
    ["no two answers have different scores", { responses: ["a", "a"], scores: [1, 1] }],
    [
      "1001 answers, at most 1000 are compared",
      { responses: Array.from({ length: 1001 }, (_, index) => `${index}`), scores: [...new Array(1001).keys()] },
    ],
    ["two are equal, but their scores are 1 and 2", { responses: ["a", "a"], scores: [1, 2] }],
    ["found responses alone", { responses: ["a", "b"] }],
    ["found scores alone", { scores: [1, 2] }],
    ["but not both", { responses: ["a", "b"], scores: [1, 2], chosen: "a", rejected: "b" }],
    ["scores[1]: expected a finite number, found null", { responses: ["a", "b"], scores: [1, null] }],
  ])("refuses: %s", (message, record) => {
    expect(refused({ messages: [ask], ...record })).toEqual(["invalid_record", expect.stringContaining(message)]);
  });
});

describe("what is not a preference is refused", () => {
  test.each<[message: string, record: unknown]>([
    ["chosen and rejected are equal", { ...pair, rejected: "4" }],
    ["rejected: expected an answer beside chosen", { messages: [ask], chosen: "4" }],
    ["chosen: expected an answer beside rejected", { messages: [ask], rejected: "" }],
    ["found chosen alone", { prompt: [ask], chosen: "4" }],
    ["found none of them", { messages: [ask, reply("4")] }],
    [
      "prompt: expected a string or a list of messages beside chosen and rejected (or messages)",
      { chosen: "4", rejected: "5" },
    ],
    ["chosen: expected a string or a list of messages, found the number 4", { ...pair, chosen: 4 }],
    ["margin: expected a number that is not negative, found the number -1", { ...pair, margin: -1 }],
    ["weight: expected a positive number, found the number 0", { ...pair, weight: 0 }],
    ["source: expected a string, found the number 1", { ...pair, source: 1 }],
    ["half of a surrogate pair", { ...pair, chosen: "\ud800" }],
    ["stands twice", '{"messages": [], "chosen": "4", "chosen": "5"}'],
  ])("%s", (message, record) => {
    expect(refused(record)).toEqual(["invalid_record", expect.stringContaining(message)]);
  });

  it("refuses a prompt that does not end with the user", () => {
    expect(refused({ ...pair, messages: [ask, reply("4")] })[0]).toBe("invalid_roles");
    expect(refused("{")[0]).toBe("invalid_json");
  });

  it("keeps the id of a bad record", () => {
    expect(readPreference('{"id": "x", "chosen": 4}', 0)).toMatchObject({ id: "x" });
  });
});
