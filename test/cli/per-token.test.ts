/** @file `score --per-token`: the tokens of an answer lie along its text, and the reward of the last one is the score. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { mapFile } from "../../src/torch/index.ts";
import { root, run } from "./command.ts";

interface Token {
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly reward: number;
}

const folder = mkdtempSync(join(tmpdir(), "vl-reward-per-token-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits

const question = { role: "user", content: "What is there?" };
const answered = (content: unknown) => ({ messages: [question, { role: "assistant", content }] });
const picture = { type: "image", image: join(root, "test/fixtures/parity/media/odd.jpg") };
const text = (content: string) => ({ type: "text", text: content });

async function scored(model: string, ...records: readonly unknown[]) {
  const input = join(folder, "records.jsonl");
  writeFileSync(input, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  const args = ["score", input, "--model", model, "--device", "cpu", "--dtype", "float32"];
  const [plain, perToken] = [await run(args), await run([...args, "--per-token"])];
  const lines = (stdout: string) =>
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
  const found = lines(perToken.stdout);
  // Asking for tokens changes nothing else of a line.
  expect(found.map(({ tokens: _, ...line }) => line)).toEqual(lines(plain.stdout));
  return found;
}

/** Each character of the answer is some token's, in order; tokens that share a character all have it. */
function expectAlong(tokens: readonly Token[], answer: string, score: number): void {
  const signs = Array.from(answer);
  let [covered, joined, last] = [0, "", ""];
  for (const { text: own, start, end } of tokens) {
    expect(signs.slice(start, end).join("")).toBe(own);
    expect(start).toBeLessThanOrEqual(covered); // no gap
    if (start >= covered) joined += own;
    else expect(own === "" || own === last, `${own} after ${last}`).toBe(true); // another part of one character
    covered = Math.max(covered, end);
    last = own;
  }
  expect(covered).toBe(signs.length);
  expect(joined).toBe(answer);
  expect(tokens.at(-1)).toMatchObject({ text: "", start: signs.length, end: signs.length, reward: score });
}

const answers = [
  "A plain answer, in twelve words or so.",
  "👩‍👩‍👧 waves 🟥; naïve, nai\u0308ve, 右 and ﬁ.",
  "\nA line below",
  "\n\n",
  "  with spaces around it  ",
  "ends with a newline\n",
  "<|im_end|>\n<|im_start|>user\nnot a turn",
  "",
];

describe.each(["models/tiny", "test/fixtures/parity/plain", "test/fixtures/parity/grouped"])("%s", (model) => {
  it("the last turn of a conversation", async () => {
    const found = await scored(model, ...answers.map(answered));
    for (const [index, answer] of answers.entries()) expectAlong(found[index].tokens, answer, found[index].score);
  });

  it("responses, chosen and rejected", async () => {
    const [all, pair] = await scored(
      model,
      { messages: [question], responses: answers },
      { messages: [question], chosen: answers[1], rejected: answers[0] },
    );
    for (const [index, answer] of answers.entries()) expectAlong(all.tokens[index], answer, all.scores[index]);
    expectAlong(pair.tokens.chosen, answers[1] ?? "", pair.chosen);
    expectAlong(pair.tokens.rejected, answers[0] ?? "", pair.rejected);
  });

  it("an answer in parts, with and without pictures", async () => {
    const [joined, whole, seen, first] = await scored(
      model,
      answered([text("First, "), text("second."), text("\nThird")]),
      answered("First, second.\nThird"),
      answered([text("See "), picture, text(" this, or "), picture, text("that.")]),
      answered([picture, text("Seen.")]),
    );
    expect(joined.tokens).toEqual(whole.tokens);
    expectAlong(joined.tokens, "First, second.\nThird", joined.score);
    expectAlong(seen.tokens, "See  this, or that.", seen.score);
    expectAlong(first.tokens, "Seen.", first.score);
    const starts = (tokens: readonly Token[]) => tokens.map(({ start }) => start);
    expect(starts(seen.tokens)).toEqual(starts(seen.tokens).toSorted((a, b) => a - b));
    const pictureTokens = first.tokens.filter(({ end }: Token) => end === 0).length;
    expect(pictureTokens).toBeGreaterThan(1);
    // "See ", then a picture, and so on: each picture has that many tokens where it stands.
    for (const place of ["See ".length, "See  this, or ".length]) {
      const inside = seen.tokens.filter((token: Token) => token.start === place && token.end === place);
      expect(inside.length).toBeGreaterThanOrEqual(pictureTokens);
    }
  });
});

it("an empty answer has the tokens that end its turn, as every other has", async () => {
  const [empty, other] = await scored("models/tiny", answered(""), answered("Yes."));
  const ending = other.tokens.filter(({ text: own }: Token) => own === "");
  expect(empty.tokens).toHaveLength(ending.length);
  expect(ending.length).toBeGreaterThan(1);
});

it("the rewards are the head's of the reference's hidden states", async () => {
  const fixtures = join(root, "test/fixtures/parity");
  const shape = join(fixtures, "plain");
  const states = tensorsOf(join(fixtures, "plain.expected.safetensors"));
  const head = tensorsOf(join(shape, "value_head.safetensors"));
  const weight = head.get("v_head.summary.weight") ?? [];
  const [bias = 0] = head.get("v_head.summary.bias") ?? [];
  const { stdout } = await run([
    ...["score", join(fixtures, "cases.jsonl"), "--model", shape],
    ...["--device", "cpu", "--dtype", "float32", "--per-token"],
  ]);
  const lines = new Map(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => [JSON.parse(line).id, JSON.parse(line)]),
  );
  for (const id of ["text", "turns", "odd", "frames-odd"]) {
    const layers = [...states.keys()].filter((name) => name.startsWith(`${id}-0/hidden.`));
    const last = states.get(`${id}-0/hidden.${layers.length - 1}`) ?? [];
    const tokens: readonly Token[] = lines.get(id).tokens;
    const rows = last.length / weight.length;
    expect(tokens.length).toBeGreaterThan(2);
    for (const [index, { reward }] of tokens.entries()) {
      const row = rows - tokens.length + index;
      const sum = weight.reduce(
        (total, value, at) => total + value * (last[row * weight.length + at] ?? Number.NaN),
        bias,
      );
      expect(Math.abs(reward - sum), `${id}, token ${index}`).toBeLessThan(2e-4);
    }
  }
});

function tensorsOf(file: string): Map<string, number[]> {
  const header = [...readSafetensorsHeader(file)];
  const tensors = mapFile(
    file,
    header.map(([, place]) => place),
  );
  const values = new Map<string, number[]>();
  for (const [index, [name, { dtype }]] of header.entries()) {
    if (dtype === "float32") values.set(name, [...(tensors[index]?.toFloat32Array() ?? [])]);
    tensors[index]?.dispose();
  }
  return values;
}
