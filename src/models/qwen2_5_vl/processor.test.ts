import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readJson } from "../../checkpoint/checkpoint.ts";
import { parseConfig } from "./config.ts";
import { Processor } from "./processor.ts";

const fixtures = path.join(import.meta.dirname, "../../../test/fixtures/parity");
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "processor-"));
  cpSync(path.join(fixtures, "plain"), folder, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

async function keyOf(image: string): Promise<string | undefined> {
  const config = parseConfig(readJson(path.join(folder, "config.json")), "config.json");
  const processor = await Processor.load(folder, config, {});
  const { visuals } = await processor.prepare(
    [{ role: "user", content: [{ type: "image", image }] }],
    [{ role: "assistant", content: "Yes." }],
    { baseFolder: path.join(fixtures, "media") },
  );
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
