/** @file Videos on their way to the model: all of them, in order, and never more bytes than there is room for. */

import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { ensureDist, here } from "../../../setup/ensure.mjs";
import type { Message, Part } from "../../conversation.ts";
import { localPolicy } from "../../media/policy.ts";
import { GeneratedSource } from "./generated-source.ts";
import type { PreparedRecord } from "./prepared-records.ts";

// Threads run what is built, and so does what starts them.
await ensureDist(here);
const built = (name: string): Promise<unknown> => import(pathToFileURL(path.join(here.root, "dist", name)).href);
const { PreparePool } = (await built("training/data/prepare-pool.js")) as typeof import("./prepare-pool.ts");
const { inStreams, preparedRecords } = (await built(
  "training/data/prepared-records.js",
)) as typeof import("./prepared-records.ts");
const { Room } = (await built("tasks/room.js")) as typeof import("../../tasks/room.ts");

const pool = new PreparePool(path.join(here.root, "test/fixtures/parity/plain"), {}, localPolicy, {
  threads: 2,
  pictureBytes: 0,
});
afterAll(() => pool.close());

const decodedFrame = 3 * 104 * 76; // bytes of one of the videos' own, as test/fixtures/video/README.md says
const videos = path.join(here.root, "test/fixtures/video");
const video = (name: string): Part[] => [{ type: "video", video: path.join(videos, name) }];
const mixed = [
  ...["h264.mp4", "hevc.mkv", "av1.mp4", "vp8.webm", "variable.mp4", "cut.mp4"].map(video),
  [{ type: "text", text: "none" }] satisfies Part[],
  ...["hevc10.mov", "shifted.mp4", "turned.mp4"].map(video),
];

/** Records with such prompts and two answers. */
function recordsOf(prompts: readonly Part[][], { capacity = 1, maxLength = 4096 }) {
  const preference = (index: number) => ({
    id: `${index}`,
    prefix: [{ role: "user", content: prompts[index] ?? [] }] satisfies Message[],
    answers: ["Yes.", "No."].map((content): Message => ({ role: "assistant", content })),
    pairs: [{ chosen: 0, rejected: 1, margin: 0, weight: 1 }],
    source: undefined,
  });
  const made = {
    name: "made",
    questions: 1,
    pairs: 1,
    tokens: () => 1,
    document: (index: number) => index,
    preference,
  };
  const source = new GeneratedSource(made, prompts.length);
  const items = prompts.map((_, record) => ({ source, entry: { source: 0, record, pairs: [0] } }));
  const room = new Room(capacity);
  return { room, records: preparedRecords(items, { pool, room, maxLength, answers: "all" }) };
}

const numberOf = ({ item }: PreparedRecord): number => item.entry.record;

/** Of frames that are put together: while they are resized, they are there twice, beside one that is decoded. */
function bytesOf(record: PreparedRecord): { prepared: number; preparing: number } {
  if (!("pairs" in record)) throw new Error(`record ${numberOf(record)} cannot be used`);
  const prepared = record.pairs.prompt.visuals.reduce((sum, { pixels }) => sum + pixels.byteLength, 0);
  return { prepared, preparing: prepared === 0 ? 0 : 2 * prepared + decodedFrame };
}

describe.each([
  ["for none", 1],
  ["for two of them", 8_000_000],
])("room %s", (_, capacity) => {
  test("all come in order; what is held is the room or a record, one more, and what is used", async () => {
    const { room, records } = recordsOf(mixed, { capacity });
    const seen: number[] = [];
    let [largest, used] = [0, 0];
    for await (const stream of inStreams(records, mixed.length, 1)) {
      expect(stream).toHaveLength(1);
      seen.push(...stream.map(numberOf));
      const sizes = stream.map(bytesOf);
      largest = Math.max(largest, ...sizes.map(({ preparing }) => preparing));
      used = Math.max(used, ...sizes.map(({ prepared }) => prepared));
    }
    expect(seen).toEqual([...mixed.keys()]);
    expect(room.use.peak).toBeGreaterThanOrEqual(largest);
    expect(room.use.peak).toBeLessThanOrEqual(Math.max(capacity, largest) + largest + used);
    expect(room.use.bytes).toBe(0);
  });

  test("a stream of more than that gets all its records, and keeps their room until the next is asked for", async () => {
    const { room, records } = recordsOf(mixed, { capacity });
    const streams = inStreams(records, mixed.length, 1_000_000);
    const { value: stream } = await streams.next();
    expect(stream?.map(numberOf)).toEqual([...mixed.keys()]);
    const prepared = stream?.reduce((sum, record) => sum + bytesOf(record).prepared, 0);
    expect(room.use.bytes).toBe(prepared);
    expect((await streams.next()).done).toBe(true);
    expect(room.use.bytes).toBe(0);
  });
});

test("records that cannot be used give their room back", async () => {
  const broken = ["sound.mp4", "truncated.mp4", "missing.mp4"].map(video);
  const { room, records } = recordsOf([...mixed, ...broken], { capacity: 1, maxLength: 100 });
  const codes: string[] = [];
  for await (const record of records) {
    if ("error" in record) {
      codes.push(record.error.code);
      continue;
    }
    expect(numberOf(record)).toBe(6); // the text
    if ("pairs" in record) record.stay.leave();
  }
  const tooLong = mixed.slice(1).map(() => "sequence_too_long");
  expect(codes).toEqual([...tooLong, "media_no_frames", "media_damaged", "media_not_found"]);
  expect(room.use.bytes).toBe(0);
});

test("who leaves a stream gives its room back, and who leaves the records stops what waits for some", async () => {
  const { room, records } = recordsOf([...mixed, ...mixed], { capacity: 1 });
  let held = 0;
  for await (const stream of inStreams(records, 3, 1_000_000)) {
    held = room.use.bytes - stream.reduce((sum, record) => sum + bytesOf(record).prepared, 0);
    break;
  }
  expect(room.use.bytes).toBeLessThanOrEqual(held); // of records that were not taken
  await records.return();
  const { records: others } = recordsOf(mixed, { capacity: 1 });
  const seen: number[] = [];
  for await (const stream of inStreams(others, mixed.length, 1)) seen.push(...stream.map(numberOf));
  expect(seen).toEqual([...mixed.keys()]);
});
