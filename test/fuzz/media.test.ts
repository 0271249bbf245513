/**
 * @file Pictures and videos with damage: each is decoded, into as many samples as its size says, or refused with a media code and a
 * reason of its own; the same in the company of others as alone. A good one among them stays what it is.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { VlRewardError } from "../../src/errors.ts";
import { decodeImage } from "../../src/media/image.ts";
import { readImageSize } from "../../src/media/image-size.ts";
import { openVideo } from "../../src/media/video.ts";
import { root } from "../cli/command.ts";
import expected from "../fixtures/pictures/expected.json" with { type: "json" };
import { countOf, oneOf, type Random, randomOf, seed, tally } from "./random.ts";

const count = countOf("MEDIA", 300);
const fixtures = path.join(root, "test/fixtures");
const filesIn = (kind: string, names: RegExp): [name: string, bytes: Buffer][] =>
  readdirSync(path.join(fixtures, kind))
    .filter((name) => names.test(name))
    .map((name) => [name, readFileSync(path.join(fixtures, kind, name))]);

const pictures = filesIn("pictures", /\.(?!md|json)\w+$/);
const videos = filesIn("video", /\.(?:mp4|mov|mkv|webm|avi|flv|mpegts|mpg|wmv|gif|webp)$/);
/** A header may claim any size and length: what takes more is refused before it is decoded. */
const limits = { maxPixels: 4_000_000, decodeSeconds: 60 };

/** Bytes as discs, connections and careless programs leave them -> also what was done. */
function damaged(whole: Buffer, other: Buffer, random: Random): { bytes: Buffer; done: string } {
  const bytes = Buffer.from(whole);
  const at = random(2) === 0 ? random(Math.min(bytes.length, 600)) : random(bytes.length); // headers lie in front
  switch (random(8)) {
    case 0:
      return { bytes: bytes.subarray(0, at), done: `cut at ${at}` };
    case 1:
      return {
        bytes: bytes.fill(random(256), at, Math.min(bytes.length, at + 1 + random(400))),
        done: `one byte repeated from ${at}`,
      };
    case 2: {
      const claim = oneOf(random, [0, 1, 0x7f_ff_ff_ff, 0xff_ff_ff_ff, 0x80_00_00_00, bytes.length]);
      if (at + 4 <= bytes.length) random(2) === 0 ? bytes.writeUInt32BE(claim, at) : bytes.writeUInt32LE(claim, at);
      return { bytes, done: `${claim} at ${at}` };
    }
    case 3:
      return { bytes: Buffer.concat([bytes.subarray(0, at), other.subarray(at)]), done: `another file from ${at}` };
    case 4: {
      const inserted = Buffer.alloc(1 + random(64), random(256));
      return { bytes: Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)]), done: `more at ${at}` };
    }
    case 5: {
      const rest = bytes.subarray(at + 1 + random(64));
      return { bytes: Buffer.concat([bytes.subarray(0, at), rest]), done: `less at ${at}` };
    }
    default: {
      for (let turn = 1 + random(6); turn > 0; turn--) bytes[random(bytes.length)] = random(256);
      bytes[at] = random(256);
      return { bytes, done: `bytes changed, at ${at} too` };
    }
  }
}

const digest = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** What became of one: the digest of its samples, or the code and message of its refusal. */
async function outcomeOf(shown: string, name: string, read: () => Promise<string>): Promise<string> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof VlRewardError)) throw new Error(shown, { cause: error });
    const { code, message } = error;
    expect(["media_damaged", "media_unknown_format", "media_too_large", "media_no_frames"], shown).toContain(code);
    expect(message.startsWith(name), `${shown}: ${message}`).toBe(true);
    expect(message.length, `${shown}: ${message}`).toBeLessThan(400);
    // libvips keeps one list of errors for the process: what it says may be of another picture.
    expect(message, shown).not.toMatch(/\bvips|pngload|jpegload|gifload|libpng|unknown error/i);
    return `${code}: ${message}`;
  }
}

async function readPicture(bytes: Buffer, name: string): Promise<string> {
  const size = await readImageSize({ kind: "bytes", bytes }, name, limits.maxPixels);
  const { width, height, data } = await decodeImage(bytes, name, limits.maxPixels);
  expect([width, height, data.length], name).toEqual([size.width, size.height, width * height * 3]);
  return digest(data);
}

async function readVideo(bytes: Buffer, name: string): Promise<string> {
  await using reader = await openVideo({ kind: "bytes", bytes }, name, limits);
  const { frameCount, averageFps, width, height } = reader;
  expect(frameCount, name).toBeGreaterThan(0);
  expect(Number.isFinite(averageFps) && averageFps > 0, name).toBe(true);
  for await (const frame of reader.frames([0, Math.floor(frameCount / 2), frameCount - 1])) {
    expect([frame.width, frame.height, frame.data.length], name).toEqual([width, height, width * height * 3]);
  }
  return "decoded";
}

const kindOf = (outcome: string): string => /^media_\w+/.exec(outcome)?.[0] ?? "decoded";

test(`${count} damaged pictures`, { timeout: 60_000 + 200 * count }, async () => {
  const outcomes: string[] = [];
  const together = 20;
  for (let first = 0; first < count; first += together) {
    const attempts = Array.from({ length: Math.min(together, count - first) }, (_, index) => {
      const random = randomOf(first + index);
      const [name, whole] = oneOf(random, pictures);
      const { bytes, done } = damaged(whole, oneOf(random, pictures)[1], random);
      const shown = `seed ${seed}, attempt ${first + index}: ${name}, ${done}`;
      return () => outcomeOf(shown, name, () => readPicture(bytes, name));
    });
    const [good, of] = oneOf(randomOf(first), Object.entries(expected));
    const image = decodeImage(readFileSync(path.join(fixtures, "pictures", good)), good);
    const results = await Promise.all(attempts.map((attempt) => attempt()));
    expect(digest((await image).data), good).toBe(of.sha256);
    const alone = randomOf(first)(attempts.length);
    expect(await attempts[alone]?.()).toBe(results[alone]);
    outcomes.push(...results.map(kindOf));
  }
  console.info(`damaged pictures: ${tally(outcomes)}`);
  expect(new Set(outcomes)).toContain("media_damaged");
});

const fewer = Math.ceil(count / 3);
test(`${fewer} damaged videos`, { timeout: 60_000 + 1000 * fewer }, async () => {
  const outcomes: string[] = [];
  for (let attempt = 0; attempt < fewer; attempt++) {
    const random = randomOf(attempt);
    const [name, whole] = oneOf(random, videos);
    const { bytes, done } = damaged(whole, oneOf(random, videos)[1], random);
    const shown = `seed ${seed}, attempt ${attempt}: ${name}, ${done}`;
    outcomes.push(kindOf(await outcomeOf(shown, name, () => readVideo(bytes, name))));
  }
  console.info(`damaged videos: ${tally(outcomes)}`);
  expect(new Set(outcomes)).toContain("media_damaged");
});
