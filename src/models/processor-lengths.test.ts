import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { readSafetensorsHeader } from "../checkpoint/safetensors.ts";
import type { Message, Part } from "../conversation.ts";
import { readRecord } from "../data/record.ts";
import { familyOf } from "./families.ts";

const fixtures = path.join(import.meta.dirname, "../../test/fixtures/parity");
const counter = await familyOf(path.join(fixtures, "plain")).loadProcessor({ limits: {} });

/** What the reference's processor made of each case: input_ids as dump.py wrote them. */
const referenceFile = path.join(fixtures, "plain.expected.safetensors");
const referenceBytes = readFileSync(referenceFile);
const reference = new Map(
  [...readSafetensorsHeader(referenceFile)]
    .filter(([name]) => name.endsWith("/input_ids"))
    .map(([name, { shape, offset }]) => {
      const tokens = shape.at(-1) ?? 0;
      const ids = Array.from({ length: tokens }, (_, at) => Number(referenceBytes.readBigInt64LE(offset + 8 * at)));
      return [name.replace("/input_ids", ""), ids] as const;
    }),
);
const { added_tokens: addedTokens } = JSON.parse(readFileSync(path.join(fixtures, "plain/tokenizer.json"), "utf8"));
const turnStart: number = addedTokens.find(({ content }: { content: string }) => content === "<|im_start|>").id;

async function count(prefix: readonly Message[], answers: readonly Message[], baseFolder = fixtures) {
  return counter.count(prefix, answers, await counter.measure([...prefix, ...answers], { baseFolder }));
}

describe("lengths are the reference's", () => {
  const cases = readFileSync(path.join(fixtures, "cases.jsonl"), "utf8").trimEnd().split("\n").map(readRecord);
  test.each(cases.map((read) => [read.id, read] as const))("case %s", async (id, read) => {
    if ("error" in read) throw read.error;
    const { record } = read;
    const { prompt: prefix, answers } = record;
    const { conversations, shared } = await count(prefix, answers);
    const ids = answers.map((_, index) => reference.get(`${id}-${index}`) ?? []);
    expect(conversations).toEqual(ids.map(({ length }) => length));
    const prompt = (ids[0]?.lastIndexOf(turnStart) ?? 0) + 1;
    expect(shared).toBe(prompt + ids.reduce((sum, { length }) => sum + length - prompt, 0));
  });
});

describe("what cannot be prepared is found", () => {
  const ask = (part: Part): Promise<unknown> =>
    count([{ role: "user", content: [part] }], [{ role: "assistant", content: "Yes." }]);

  test.each<[string, Part]>([
    ["media_not_found", { type: "image", image: "media/none.png" }],
    ["media_unknown_format", { type: "image", image: "cases.jsonl" }],
    ["media_options", { type: "image", image: "media/odd.jpg", minPixels: 20_000, maxPixels: 10_000 }],
    ["media_not_found", { type: "video", video: "media/none.mp4" }],
    ["media_not_found", { type: "video", video: ["media/frame0.jpg", "media/none.jpg"] }],
    ["media_no_frames", { type: "video", video: [] }],
    ["media_options", { type: "video", video: "media/clip.mp4", fps: 1, nframes: 4 }],
  ])("%s: %j", (code, part) => expect(ask(part)).rejects.toMatchObject({ code }));

  test("an address is not fetched, its length is unknown", async () => {
    const part: Part = { type: "image", image: "https://localhost:1/a.png" };
    const visuals = await counter.measure([{ role: "user", content: [part] }], { baseFolder: fixtures });
    expect([...visuals]).toEqual([[part, undefined]]);
  });
});

test("pictures that no conversation has room for are refused before they are decoded", async () => {
  const { max_position_embeddings: most } = JSON.parse(readFileSync(path.join(fixtures, "plain/config.json"), "utf8"));
  const picture = (): Part => ({ type: "image", image: "media/odd.jpg", minPixels: 12_000_000 });
  const [tokens = 0] = (
    await counter.measure([{ role: "user", content: [picture()] }], { baseFolder: fixtures })
  ).values();
  const content = Array.from({ length: Math.ceil(most / tokens) }, picture);
  const room = (): Promise<void> => Promise.reject(new Error("room was asked for"));
  const answers: Message[] = [{ role: "assistant", content: "Yes." }];
  await expect(
    counter.prepare([{ role: "user", content }], answers, { baseFolder: fixtures, room }),
  ).rejects.toMatchObject({ code: "sequence_too_long" });
  // Each answer has its own conversation: together they may have more.
  const half = { role: "assistant", content: content.slice(0, Math.ceil(content.length * 0.6)) } as const;
  const other: Message = { ...half, content: half.content.map((part) => ({ ...part })) };
  await expect(
    counter.prepare([{ role: "user", content: "Which?" }], [half, other], { baseFolder: fixtures, room }),
  ).rejects.toThrow("room was asked for");
});
