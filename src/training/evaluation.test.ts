/** @file Evaluations of a small model: each record is read once, and what several processes find together is what one finds. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { ensureDist, here } from "../../setup/ensure.mjs";
import { localPolicy } from "../media/policy.ts";
import { familyOf } from "../models/families.ts";
import { loadTrainConfig } from "./config/config.ts";
import { checkFile } from "./data/file-check.ts";
import { FileSource } from "./data/file-source.ts";
import type { RecordSource } from "./data/record-source.ts";
import type { EvaluationOptions } from "./evaluation.ts";
import type { Session } from "./session.ts";
import { alone } from "./world.ts";

// Threads run what is built, and so does what starts them.
await ensureDist(here);
const built = (name: string): Promise<unknown> => import(pathToFileURL(path.join(here.root, "dist", name)).href);
const { evaluate } = (await built("training/evaluation.js")) as typeof import("./evaluation.ts");
const { Session: BuiltSession } = (await built("training/session.js")) as typeof import("./session.ts");
const { objectives } = (await built("training/objectives/registry.js")) as typeof import("./objectives/registry.ts");
const { Room } = (await built("tasks/room.js")) as typeof import("../tasks/room.ts");
const { VlRewardError } = (await built("errors.js")) as typeof import("../errors.ts");

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-evaluation-"));
const plain = path.join(import.meta.dirname, "../../test/fixtures/parity/plain");
const { signal } = new AbortController();

/** A source that counts how often each record is read. */
class Counted implements RecordSource {
  readonly reads: number[] = [];
  readonly #source: FileSource;

  constructor(source: FileSource) {
    this.#source = source;
  }

  get name() {
    return this.#source.name;
  }
  get length() {
    return this.#source.length;
  }
  readonly together = 1;
  readonly pairsOf = (record: number) => this.#source.pairsOf(record);
  readonly tokensOf = (record: number) => this.#source.tokensOf(record);
  readonly promptOf = (record: number) => this.#source.promptOf(record);
  readonly placeOf = (record: number) => this.#source.placeOf(record);
  readonly close = () => this.#source.close();
  readonly read = (record: number) => {
    this.reads[record] = (this.reads[record] ?? 0) + 1;
    return this.#source.read(record);
  };
}

let session: Session;
let source: Counted;
let options: EvaluationOptions;

beforeAll(async () => {
  const sources = ["ä", undefined, "b", "ä", "b", undefined, "ä"];
  const records = sources.map((from, index) => ({
    messages: [{ role: "user", content: `Is ${index} a number?` }],
    ...(index === 2 ? { responses: ["a", "b", "c"], scores: [3, 2, 1] } : { chosen: "Yes.", rejected: "No." }),
    ...(from !== undefined && { source: from }),
  }));
  const file = path.join(folder, "pairs.jsonl");
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  const configFile = path.join(folder, "run.yaml");
  const stages = [{ data: [{ path: file }], steps: 1 }];
  writeFileSync(configFile, stringify({ model: plain, output: "out", threads: 1, token_budget: 64, stages }));
  const config = loadTrainConfig(configFile);
  const world = alone("cpu");
  const counter = await familyOf(plain).loadProcessor({ limits: {} });
  session = new BuiltSession({
    config,
    modelFolder: plain,
    device: "cpu",
    world,
    media: localPolicy,
    objectives,
    answerTokens: counter.answerTokens,
  });
  const rule = { counter, maxLength: 1000, tooLong: "drop", signal, onProgress: () => {} } as const;
  source = new Counted(await FileSource.open((await checkFile(file, rule)).checked));
  options = {
    pass: session.pass,
    pool: session.pool,
    room: new Room(session.mediaBytes),
    world,
    tokenBudget: 64,
    maxLength: 1000,
    loss: config.loss,
    usable: (stream) => stream.filter((record) => "pairs" in record),
    isStopping: () => false,
  };
}, 60_000);

afterAll(async () => {
  await source.close();
  await session.close();
  rmSync(folder, { recursive: true });
});

test("reads each record once, and tells its source", async () => {
  const found = await evaluate([source], options);
  if (found.kind !== "measured") throw new Error(found.kind);
  expect(source.reads).toEqual([1, 1, 1, 1, 1, 1, 1]);
  // Record 2 has three pairs; those without a source count overall alone.
  expect(found.overall.pairs).toBe(9);
  expect([...found.sources].map(([name, { pairs }]) => [name, pairs])).toEqual([
    ["ä", 3],
    ["b", 4],
  ]);
});

describe("leaves off", () => {
  test("between two streams, when it is asked to", async () => {
    let asked = 0;
    let used = 0;
    const found = await evaluate([source], {
      ...options,
      usable: (stream) => {
        used += stream.length;
        return options.usable(stream);
      },
      isStopping: () => ++asked > 1,
    });
    expect(found).toEqual({ kind: "stopped" });
    expect(used).toBeGreaterThan(0);
    expect(used).toBeLessThan(7);
  });

  test("at a record that cannot be used", async () => {
    const error = new VlRewardError("media_damaged", "pairs.jsonl:1: it is damaged");
    const found = await evaluate([source], {
      ...options,
      usable: () => {
        throw error;
      },
    });
    expect(found).toEqual({ kind: "failed", error });
  });

  test("rejects for what is no record's fault", async () => {
    const usable = () => {
      throw new TypeError("a defect");
    };
    await expect(evaluate([source], { ...options, usable })).rejects.toThrow(TypeError);
  });
});
