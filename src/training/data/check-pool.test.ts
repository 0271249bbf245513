import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { localPolicy } from "../../media/policy.ts";
import { familyOf } from "../../models/families.ts";
import { checkFile } from "./file-check.ts";

const root = path.join(import.meta.dirname, "../../..");
const parity = path.join(root, "test/fixtures/parity");

// Threads run what is built.
const built = (name: string): Promise<unknown> =>
  import(pathToFileURL(path.join(root, "dist/training/data", name)).href);
const { CheckPool } = (await built("check-pool.js")) as typeof import("./check-pool.ts");
const builtCheck = (await built("file-check.js")) as typeof import("./file-check.ts");

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "check-pool-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const options = (maxLength: number) =>
  ({ maxLength, tooLong: "cut", signal: new AbortController().signal, onProgress: () => {} }) as const;

test("threads find what one thread finds, in the file's order", async () => {
  const media = path.join(parity, "media");
  const pictures = ["odd.jpg", "none.png", "exif.jpg", "tall.webp"].map((name) => path.join(media, name));
  const records = Array.from({ length: 300 }, (_, index) => {
    const content =
      index % 5 === 4
        ? [{ type: "image", image: pictures[Math.floor(index / 5) % 4], max_pixels: 12_000 }]
        : "word ".repeat(index % 90);
    const older = [
      { role: "user", content: `${index}?` },
      { role: "assistant", content: "Yes. ".repeat(index % 30) },
    ];
    return {
      messages: [...older, { role: "user", content }],
      chosen: `${index}`,
      rejected: index % 7 === 0 ? `${index}` : "",
    };
  });
  const file = path.join(folder, "pairs.jsonl");
  writeFileSync(file, records.map((record) => JSON.stringify(record)).join("\n"));

  const here = await checkFile(file, {
    counter: await familyOf(path.join(parity, "plain")).loadProcessor({ limits: {} }),
    ...options(100),
  });
  const { bad, tooLong, usable } = here.report;
  expect(Math.min(bad.count, tooLong.cut, tooLong.dropped, usable)).toBeGreaterThan(0);
  const pool = new CheckPool(path.join(parity, "plain"), {}, localPolicy, 2);
  try {
    expect(await builtCheck.checkFile(file, { counter: pool, ...options(100) })).toEqual(here);
  } finally {
    await pool.close();
  }
});

test("a checkpoint that cannot be read is said once, and nothing waits for it", async () => {
  const pool = new CheckPool(folder, {}, localPolicy, 2);
  const preference = { id: 0, prefix: [], answers: [], pairs: [], source: undefined };
  const rule = { maxLength: 9, tooLong: "drop" } as const;
  try {
    await expect(pool.check(preference, rule, folder)).rejects.toMatchObject({ code: "config_invalid" });
    await expect(pool.check(preference, rule, folder)).rejects.toMatchObject({ code: "config_invalid" });
  } finally {
    await pool.close();
  }
});
