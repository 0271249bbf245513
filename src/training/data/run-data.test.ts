/** @file What is refused or told of a run's data before it begins: stages without a step, validation sets that measure nothing. */

import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { localPolicy } from "../../media/policy.ts";
import { loadTrainConfig } from "../config/config.ts";
import { closeRunData, openRunData } from "./run-data.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-run-data-"));
const plain = path.join(import.meta.dirname, "../../../test/fixtures/parity/plain");
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, prompts: readonly string[]): string {
  const record = (prompt: string) => ({
    messages: [{ role: "user", content: prompt }],
    chosen: "Yes.",
    rejected: "No.",
  });
  const file = path.join(folder, name);
  writeFileSync(file, prompts.map((prompt) => `${JSON.stringify(record(prompt))}\n`).join(""));
  return file;
}

const numbered = (count: number) => Array.from({ length: count }, (_, index) => `Is ${index} a number?`);
const three = write("three.jsonl", numbered(3));

/** Opens the data of a configuration and closes it again. */
async function opened(
  keys: Readonly<Record<string, unknown>>,
  stage: Readonly<Record<string, unknown>> = {},
  meanwhile = () => {},
) {
  const file = path.join(folder, "run.yaml");
  const stages = [{ name: "only", data: [{ path: three }], steps: 2, batch_size: 2, ...stage }];
  writeFileSync(file, stringify({ model: plain, output: "out", stages, ...keys }));
  const data = await openRunData(loadTrainConfig(file), {
    modelFolder: plain,
    media: localPolicy,
    longest: 1000,
    localSize: 1,
    signal: new AbortController().signal,
    onProgress: () => {},
    onReport: () => {},
  });
  meanwhile();
  await closeRunData(data);
  return data;
}

const invalid = (message: RegExp) =>
  expect.objectContaining({ code: "config_invalid", message: expect.stringMatching(message) });

describe("a stage without a step", () => {
  test("is refused by its name, with how long it has to be", async () => {
    // 0.1 x 3 pairs are 0.3 of a pair.
    const found = opened({}, { steps: undefined, epochs: 0.1 });
    await expect(found).rejects.toThrow(
      invalid(/^stage only: epochs is 0\.1, and an epoch has 3 pairs.*at least 0\.333/),
    );
  });

  test("is one also beside a stage with steps", async () => {
    const stage = { data: [{ path: three }], batch_size: 2 };
    const stages = [
      { ...stage, name: "first", steps: 2 },
      { ...stage, name: "second", epochs: 0.001 },
    ];
    await expect(opened({ stages })).rejects.toThrow(invalid(/^stage second: /));
  });

  test("a part of an epoch is enough for one", async () => {
    expect((await opened({}, { steps: undefined, epochs: 0.334 })).steps).toBe(1);
  });
});

describe("a validation set", () => {
  test("that no prompt is held out for is refused", async () => {
    // Three hashes below 1e-9 would be an event of one in 10^26.
    const found = opened({ validation: { split: 1e-9 } });
    await expect(found).rejects.toThrow(
      invalid(/^validation\.split: 1e-9 of 3 prompts holds out none .*validation\.path$/),
    );
  });

  test("that leaves nothing to train on is refused", async () => {
    const found = opened({ validation: { split: 1 - 1e-9 } });
    await expect(found).rejects.toThrow(invalid(/holds out all 3 pairs in .*three\.jsonl .*none is left to train on/));
  });

  test("that takes all of one file, of which there may be others, is refused for what it is", async () => {
    const one = write("one.jsonl", ["Is this the only one?"]);
    for (const data of [[{ path: one }], [{ path: three }, { path: one }]]) {
      const found = opened({ validation: { split: 1 - 1e-9 } }, { data: data.toReversed() });
      await expect(found).rejects.toThrow(invalid(/holds out the one pair there is in .*one\.jsonl/));
    }
  });

  test("that is a training file is refused, under another name as well", async () => {
    for (const file of [three, path.join(folder, "copy.jsonl")]) {
      writeFileSync(file, readFileSync(three));
      await expect(opened({ validation: { path: file } })).rejects.toThrow(
        invalid(/^validation has the records of stages\.0\.data\.0,.*validation\.split/),
      );
    }
  });

  test("of the very documents that are trained on is refused", async () => {
    const generator = { generator: "synthetic", options: { seed: 5 }, count: 2 };
    const found = opened({ validation: generator }, { data: [generator], batch_size: 16 });
    await expect(found).rejects.toThrow(invalid(/^validation has the records of stages\.0\.data\.0/));
    const other = await opened(
      { validation: { ...generator, options: { seed: 6 } } },
      { data: [generator], batch_size: 16 },
    );
    expect(other.notices).toEqual([]);
  });

  test("that shares prompts with training files is told", async () => {
    const file = write("shared.jsonl", [...numbered(2), "Is this one new?", "Is this?"]);
    const { notices } = await opened({ validation: { path: file } });
    expect(notices).toEqual([
      expect.stringMatching(/shared\.jsonl: 2 of the 4 usable records have a prompt that is trained on/),
    ]);
    const apart = write("apart.jsonl", ["Is this one new?"]);
    expect((await opened({ validation: { path: apart } })).notices).toEqual([]);
  });
});

test.skipIf(!existsSync("/proc/self/fd"))("a file of several stages is opened once (needs /proc)", async () => {
  const opensOf = (file: string): number =>
    readdirSync("/proc/self/fd").filter((name) => {
      try {
        return readlinkSync(path.join("/proc/self/fd", name)) === file;
      } catch {
        return false; // the one that lists them
      }
    }).length;
  const stage = { data: [{ path: three }], steps: 2, batch_size: 2 };
  const stages = [
    { ...stage, name: "first" },
    { ...stage, name: "second" },
  ];
  let opens = 0;
  await opened({ stages }, {}, () => {
    opens = opensOf(three);
  });
  expect(opens).toBe(1);
  expect(opensOf(three)).toBe(0);
});

describe("the hashes", () => {
  test("are of what the data holds, wherever it lies", async () => {
    const copy = path.join(folder, "moved.jsonl");
    writeFileSync(copy, readFileSync(three));
    const other = write("other.jsonl", numbered(4));
    const [here, moved, changed] = await Promise.all([
      opened({}).then(({ hashes }) => hashes),
      opened({}, { data: [{ path: copy }] }).then(({ hashes }) => hashes),
      opened({}, { data: [{ path: other }] }).then(({ hashes }) => hashes),
    ]);
    expect(Object.keys(here)).toEqual(["stages.0.data.0"]);
    expect(moved).toEqual(here);
    expect(changed).not.toEqual(here);
  });
});
