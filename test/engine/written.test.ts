/**
 * @file Conversations that somebody has rendered already: the ids that transformers' processor makes of the reference's cases, and the
 * texts that they spell, get the reference's scores, and the bits of the conversations that they were rendered from.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { type Message, RewardEngine, type VlRewardError, type WrittenGroup } from "vl-reward";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { readRecord } from "../../src/data/record.ts";
import { fixtures, group, scoresOf, user } from "./groups.ts";

const folder = path.join(fixtures, "plain");
let engine: RewardEngine;
beforeAll(async () => {
  engine = await RewardEngine.open({ folder, dtype: "float32", device: "cpu" });
});
afterAll(() => engine.close());

const linesOf = (name: string): string[] => readFileSync(path.join(fixtures, name), "utf8").trim().split("\n");

/** [tokens] of a case, as the reference's processor gave them. */
function referenceIds(name: string): number[] {
  const file = path.join(fixtures, "plain.expected.safetensors");
  const { offset, shape } = readSafetensorsHeader(file).get(`${name}/input_ids`) ?? {};
  if (offset === undefined) throw new Error(`no input_ids of ${name}`);
  const bytes = readFileSync(file);
  return Array.from({ length: shape?.at(-1) ?? 0 }, (_, at) => Number(bytes.readBigInt64LE(offset + 8 * at)));
}

const mediaOf = (messages: readonly Message[]) =>
  messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.filter((part) => part.type !== "text"),
  );

const cases = linesOf("cases.jsonl").flatMap((line, number) => {
  const read = readRecord(line, number);
  if ("error" in read) throw read.error;
  const { prompt, answers } = read.record;
  const scores = JSON.parse(linesOf("plain.scores.jsonl")[number] ?? "");
  const expected: number[] = scores.scores ?? ("chosen" in scores ? [scores.chosen, scores.rejected] : [scores.score]);
  return answers.map((answer, index) => ({ name: `${read.id}-${index}`, prompt, answer, expected: expected[index] }));
});

async function rewardOf(written: WrittenGroup["written"], media: WrittenGroup["media"]): Promise<number> {
  const [score = Number.NaN] = scoresOf(await engine.scoreGroup({ written, media, baseFolder: fixtures }));
  return score;
}

test.each(cases)(
  "$name: ids and text as the conversation, and as the reference",
  async ({ name, prompt, answer, expected }) => {
    const ids = referenceIds(name);
    const media = mediaOf([...prompt, answer]);
    const [conversation] = scoresOf(
      await engine.scoreGroup({ prefix: prompt, branches: [answer], baseFolder: fixtures }),
    );
    const ofIds = await rewardOf(ids, media);
    expect(ofIds).toBeCloseTo(expected ?? Number.NaN, 4);
    expect(ofIds).toBe(conversation);
    expect(await rewardOf(await engine.detokenize(ids), media)).toBe(conversation);
  },
);

describe("tokens", () => {
  test.each(cases)("of $name, each picture one place", async ({ name, prompt, answer }) => {
    const ids = referenceIds(name);
    const places = ids.filter(
      (id, at) => !(/^<\|(image|video)_pad\|>$/.test(spelled.get(id) ?? "") && ids[at - 1] === id),
    );
    const { ids: found, spellings = [] } = await engine.tokenize([...prompt, answer], { spellings: true });
    expect(found).toEqual(places);
    expect(spellings).toEqual(places.map((id) => spelled.get(id)));
    expect((await engine.tokenize(await engine.detokenize(found))).ids).toEqual(places);
  });

  const tokenizer = JSON.parse(readFileSync(path.join(folder, "tokenizer.json"), "utf8"));
  const spelled = new Map<number, string>([
    ...Object.entries<number>(tokenizer.model.vocab).map(([token, id]) => [id, token] as const),
    ...tokenizer.added_tokens.map(({ id, content }: { id: number; content: string }) => [id, content] as const),
  ]);

  test("of ids that are none", async () => {
    await expect(engine.detokenize([10 ** 6])).rejects.toMatchObject({ code: "token_unknown" });
  });
});

describe("refused", () => {
  const question =
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\nA cup.";
  const picture = { type: "image", image: "media/odd.png" } as const;

  async function refusal(written: WrittenGroup["written"], media: WrittenGroup["media"]): Promise<VlRewardError> {
    const result = await engine.scoreGroup({ written, media, baseFolder: fixtures });
    if ("error" in result) return result.error;
    throw new Error("it was scored");
  }

  it.each([
    ["a place without a picture", question, [], /places for 1 \(image\).* came none/],
    ["a picture without a place", "Hello.", [picture], /places for none.* came 1 \(image\)/],
    ["one too many", question, [picture, picture], /places for 1 \(image\).* came 2 \(image, image\)/],
    ["a picture in a video's place", question.replace("image_pad", "video_pad"), [picture], /1 \(video\).*1 \(image\)/],
    ["nothing", "", [], /empty/],
    ["no ids", [], [], /empty/],
  ] as const)("%s", async (_, written, media, message) => {
    const { code, message: found } = await refusal(written, media);
    expect(code).toBe("invalid_record");
    expect(found).toMatch(message);
  });

  it.each([[[1, 2, 10 ** 6]], [[-1]], [[1.5]]])("%j, which are no tokens", async (ids) => {
    expect((await refusal(ids, [])).code).toBe("token_unknown");
  });
});

test("a text without turns is read token for token, and so is an answer without its end", async () => {
  const whole = await rewardOf("Hello there.", []);
  expect(await rewardOf((await engine.tokenize("Hello there.")).ids, [])).toBe(whole);
  const open = "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\nYes";
  const rewards = await engine.readGroup(group([user("What?")], "Yes, it is."), [{ kind: "rewards" }]);
  const cut = await engine.readGroup(
    { written: `<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n${open}`, media: [], baseFolder: "." },
    [{ kind: "rewards" }],
  );
  if ("error" in rewards || "error" in cut) throw new Error("not read");
  const [[ofWhole], [ofCut]] = [rewards.answers[0] ?? [], cut.answers[0] ?? []];
  if (!(ofWhole instanceof Float32Array && ofCut instanceof Float32Array)) throw new Error("no rewards");
  for (const [at, reward] of ofCut.entries()) expect(reward).toBeCloseTo(ofWhole[at] ?? Number.NaN, 5);
  expect(await rewardOf("a", [])).not.toBeNaN();
});
