/** @file Reading ahead takes bounded memory, however many pictures and videos come and wherever they stand: docs/library.md, Threads. */
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Group, RewardEngine } from "vl-reward";
import { fixtures, group, scored, scoresOf, user } from "./groups.ts";

const videos = path.join(import.meta.dirname, "../fixtures/video");
const side = 280;
/** Of the fixture's frames. */
const stored = { width: 104, height: 76 };

const memory = 2 ** 28; // the least that --memory takes
const room = memory / 32;

/** The frame that is being decoded, the resized ones and the video that they make, three bytes a pixel. */
const bytesOf = (frames: number): number => 3 * (stored.width * stored.height + 2 * frames * side ** 2);

const watch = (index: number, frames: number): Group =>
  group(
    [
      {
        role: "user",
        content: [
          {
            type: "video",
            video: path.join(videos, ["h264.mp4", "shifted.mp4", "turned.mp4"][index % 3] ?? ""),
            nframes: frames,
            resizedHeight: side,
            resizedWidth: side,
          },
          { type: "text", text: `What is in video ${index}?` },
        ],
      },
    ],
    "A number.",
  );

const text = (index: number): Group => group([user(`What is ${index}?`)], `It is ${index}.`);
const lengths = [4, 8, 16];
const many = Array.from({ length: 30 }, (_, index) => watch(index, lengths[index % lengths.length] ?? 4));
const texts = Array.from({ length: 200 }, (_, index) => text(index));

let engine: RewardEngine;
beforeEach(async () => {
  engine = await RewardEngine.open({ folder: path.join(fixtures, "plain"), dtype: "float32", device: "cpu", memory });
});
afterEach(() => engine.close());

async function peakOf(groups: readonly Group[]): Promise<number> {
  for (const result of await scored(engine, groups)) expect(scoresOf(result)).toHaveLength(1);
  return engine.stats.mediaBytesPeak;
}

const largest = Math.max(...lengths.map(bytesOf));

test("the videos of the tests would not fit together, and some that fit two by two", () => {
  expect(many.length * bytesOf(4)).toBeGreaterThan(4 * room);
  expect(2 * bytesOf(4)).toBeLessThan(room);
});

describe("the room, and one group beside it", () => {
  test.each([
    ["videos first", [...many, ...texts]],
    ["videos after 200 texts", [...texts, ...many]],
    ["videos among texts", texts.flatMap((one, index) => (many[index] ? [many[index], one] : [one]))],
  ])("%s", async (_, groups) => {
    const peak = await peakOf(groups);
    expect(peak).toBeLessThanOrEqual(room + largest);
    expect(peak).toBeGreaterThan(room / 2); // it does read ahead
  });

  test("several calls at once, of which the later ones open first", async () => {
    const results = many.toReversed().map((one, index) => engine.scoreGroup(one, { priority: index % 3 }));
    for (const result of await Promise.all(results)) expect(scoresOf(result)).toHaveLength(1);
    expect(engine.stats.mediaBytesPeak).toBeLessThanOrEqual(room + largest);
  });

  test("a video larger than the room gets through, and others behind it", async () => {
    const large = 36;
    expect(bytesOf(large)).toBeGreaterThan(2 * room);
    const peak = await peakOf([...many.slice(0, 4), watch(1, large), ...many.slice(4, 8), watch(2, large), text(1)]);
    expect(peak).toBeGreaterThan(room);
    expect(peak).toBeLessThanOrEqual(room + bytesOf(large));
  });

  test("what is given up while it waits or is decoded gives its room back", async () => {
    for (let turn = 0; turn < 5; turn++) {
      const stop = new AbortController();
      const results = many.map((one) => engine.scoreGroup(one, { signal: stop.signal }));
      const settled = Promise.allSettled(results);
      if (turn > 0) await Promise.race(results);
      stop.abort(new Error("enough"));
      await settled;
    }
    expect(await peakOf(many.slice(0, 6))).toBeLessThanOrEqual(room + largest);
  });
});
