import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ImagePart, Message } from "../../conversation.ts";
import { setTracer } from "../../torch/index.ts";
import { familyOf } from "../families.ts";
import type { PictureCache, Processor } from "../processor.ts";
import type { GroupPrompt, Visual } from "../prompt.ts";

const fixtures = path.join(import.meta.dirname, "../../../test/fixtures/parity");
const media = path.join(fixtures, "media");
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "processor-"));
  cpSync(path.join(fixtures, "plain"), folder, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

const load = (known?: PictureCache): Promise<Processor> =>
  familyOf(folder).loadProcessor({ limits: {}, ...(known && { known }) });

function prepare(processor: Processor, message: Message): Promise<GroupPrompt> {
  return processor.prepare([message], [{ role: "assistant", content: "Yes." }], { baseFolder: media });
}

async function keyOf(image: string): Promise<string | undefined> {
  const { visuals } = await prepare(await load(), { role: "user", content: [{ type: "image", image }] });
  return visuals[0]?.key;
}

test("a picture's key tells what the model sees: other pixels, and the same pixels normalised otherwise", async () => {
  const key = await keyOf("grey.png");
  expect(key).toBeTypeOf("string");
  expect(await keyOf("grey.png")).toBe(key);
  expect(await keyOf("odd.jpg")).not.toBe(key);
  const file = path.join(folder, "preprocessor_config.json");
  const config = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify({ ...config, image_mean: [0.5, 0.5, 0.5] }));
  expect(await keyOf("grey.png")).not.toBe(key);
});

describe("a picture that comes again", () => {
  const picture = (image: string, limits: Partial<ImagePart> = {}): Message => ({
    role: "user",
    content: [{ type: "image", image, ...limits }],
  });

  /** -> what a processor that knows earlier pictures made of each, and how many it decoded */
  async function prepared(...pictures: Message[]): Promise<{ visuals: (Visual | undefined)[]; decoded: number }> {
    const processor = await load(new Map<string, Visual>());
    let decoded = 0;
    setTracer((name) => {
      if (name === "decode") decoded++;
    });
    const visuals: (Visual | undefined)[] = [];
    for (const message of pictures) visuals.push((await prepare(processor, message)).visuals[0]);
    setTracer(undefined);
    return { visuals, decoded };
  }

  test("is decoded once, by whatever name, and is the same picture", async () => {
    copyFileSync(path.join(media, "odd.jpg"), path.join(folder, "copy"));
    const data = `data:image/jpeg;base64,${readFileSync(path.join(media, "odd.jpg"), "base64")}`;
    const names = ["odd.jpg", "odd.jpg", path.join(folder, "copy"), data];
    const { visuals, decoded } = await prepared(...names.map((name) => picture(name)));
    expect(decoded).toBe(1);
    const alone = await prepare(await load(), picture("odd.jpg"));
    for (const visual of visuals) expect(visual).toEqual(alone.visuals[0]);
  });

  test("with other limits is another picture", async () => {
    const limits = [{}, { maxPixels: 6272 }, { minPixels: 50176 }, { resizedHeight: 28, resizedWidth: 140 }];
    const pictures = limits.map((limit) => picture("odd.jpg", limit));
    const { visuals, decoded } = await prepared(...pictures, ...pictures);
    expect(decoded).toBe(limits.length);
    for (const [index, message] of [...pictures, ...pictures].entries()) {
      expect(visuals[index]).toEqual((await prepare(await load(), message)).visuals[0]);
    }
    expect(new Set(visuals.map((visual) => visual?.key)).size).toBe(limits.length);
  });

  test("is another one when its file has changed, be it in its orientation alone", async () => {
    const file = path.join(folder, "picture");
    const processor = await load(new Map<string, Visual>());
    const jpeg = readFileSync(path.join(media, "exif.jpg"));
    const at = jpeg.indexOf(Buffer.from([0x01, 0x12, 0x00, 0x03, 0, 0, 0, 1])) + 8; // orientation, a short, one of them
    expect(at).toBeGreaterThan(8);
    const grids: unknown[] = [];
    for (const orientation of [1, 6, 1]) {
      jpeg.writeUInt16BE(orientation, at);
      writeFileSync(file, jpeg);
      const { visuals } = await prepare(processor, picture(file));
      grids.push([visuals[0]?.grid.h, visuals[0]?.grid.w]);
    }
    const [[height, width] = []] = grids as number[][];
    expect(height).not.toBe(width);
    expect(grids).toEqual([
      [height, width],
      [width, height],
      [height, width],
    ]);
  });
});
