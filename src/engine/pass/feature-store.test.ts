/** @file Features on disk: the same bits back, and no file, process or disk that can give wrong ones or end a run. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ensureDist, here } from "../../../setup/ensure.mjs";
import { bytesOf } from "../../../test/safetensors-file.ts";
import { type Tensor, tensorFrom } from "../../torch/index.ts";
import { type FeatureContext, FeatureStore } from "./feature-store.ts";

const context: FeatureContext = { weights: "abc", dtype: "float32", arithmetic: "one machine" };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-features-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bits = (tensor: Tensor | undefined): Buffer | undefined => tensor && Buffer.from(bytesOf(tensor.toTypedArray()));

/** Every kind of float32: ordinary, -0, subnormal, infinite, and a NaN with a payload. */
const floats = new Float32Array(Uint32Array.of(0x3fc00000, 0x80000000, 1, 0xff800000, 0x7fc12345, 0x7f7fffff).buffer);
const features = (): Tensor => tensorFrom(floats, [2, 3]);

/** The feature files of the folder, temporary ones left out. */
function files(): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath !== path.join(folder, "temporary"))
    .map((entry) => path.join(entry.parentPath, entry.name));
}

function onlyFile(): string {
  const [file, ...more] = files();
  expect(more).toEqual([]);
  return file ?? "";
}

describe("features come back", () => {
  test("with every bit of float32, to another store of the same folder", () => {
    new FeatureStore(folder, context).put("picture", features());
    const store = new FeatureStore(folder, { ...context });
    const found = store.get("picture");
    expect([found?.shape, found?.dtype, found?.device]).toEqual([[2, 3], "float32", "cpu"]);
    expect(bits(found)).toEqual(Buffer.from(floats.buffer));
    expect(store.stats).toEqual({ hits: 1, misses: 0, damaged: 0, failures: 0 });
  });

  test("with every bit pattern of bfloat16", () => {
    const patterns = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const store = new FeatureStore(folder, { ...context, dtype: "bfloat16" });
    store.put("picture", tensorFrom(patterns, [256, 256], "bfloat16"));
    const found = store.get("picture");
    expect([found?.shape, found?.dtype]).toEqual([[256, 256], "bfloat16"]);
    expect(found?.toTypedArray()).toEqual(patterns);
  });

  test("for no other key and no other context", () => {
    new FeatureStore(folder, context).put("picture", features());
    const others: [FeatureContext, string][] = [
      [context, "another picture"],
      [{ ...context, weights: "abd" }, "picture"],
      [{ ...context, dtype: "bfloat16" }, "picture"],
      [{ ...context, arithmetic: "another machine" }, "picture"],
    ];
    for (const [other, key] of others) {
      const store = new FeatureStore(folder, other);
      expect(store.get(key)).toBeUndefined();
      expect(store.stats).toEqual({ hits: 0, misses: 1, damaged: 0, failures: 0 });
    }
    expect(new FeatureStore(folder, context).get("picture")).toBeDefined();
  });

  test("as the last that was put", () => {
    const store = new FeatureStore(folder, context);
    store.put("picture", tensorFrom(Float32Array.of(7), [1, 1]));
    store.put("picture", features());
    expect(bits(store.get("picture"))).toEqual(Buffer.from(floats.buffer));
    onlyFile();
  });

  test("but are not written in another dtype or shape than promised", () => {
    const store = new FeatureStore(folder, context);
    for (const wrong of [tensorFrom(new Uint16Array(6), [2, 3], "bfloat16"), tensorFrom(floats, [6])]) {
      expect(() => store.put("picture", wrong)).toThrow(expect.objectContaining({ code: "internal_error" }));
    }
    expect(files()).toEqual([]);
  });
});

describe("a damaged file is a miss, and removed", () => {
  function expectMiss(file: string): void {
    const store = new FeatureStore(folder, context);
    expect(store.get("picture")).toBeUndefined();
    expect(store.stats).toEqual({ hits: 0, misses: 1, damaged: 1, failures: 0 });
    expect(files()).not.toContain(file);
    store.put("picture", features());
    expect(bits(store.get("picture"))).toEqual(Buffer.from(floats.buffer));
  }

  test("with one bit flipped, wherever it is", () => {
    const store = new FeatureStore(folder, context);
    store.put("picture", features());
    const file = onlyFile();
    const whole = readFileSync(file);
    for (let byte = 0; byte < whole.length; byte++) {
      const damaged = Buffer.from(whole);
      damaged[byte] = (damaged[byte] ?? 0) ^ (1 << (byte % 8));
      writeFileSync(file, damaged);
      expect(store.get("picture"), `byte ${byte}`).toBeUndefined();
      expect(files()).toEqual([]);
    }
    expect(store.stats).toMatchObject({ hits: 0, damaged: whole.length });
    writeFileSync(file, whole);
    expect(store.get("picture")).toBeDefined();
  });

  test("cut off at any length, or too long", () => {
    const store = new FeatureStore(folder, context);
    store.put("picture", features());
    const file = onlyFile();
    const whole = readFileSync(file);
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(file, whole);
      truncateSync(file, length);
      expect(store.get("picture"), `${length} bytes`).toBeUndefined();
    }
    writeFileSync(file, Buffer.concat([whole, Buffer.of(0)]));
    expectMiss(file);
  });

  test("made by other weights or for another picture, in this one's place", () => {
    const store = new FeatureStore(folder, context);
    store.put("picture", features());
    const file = onlyFile();
    rmSync(file);
    for (const other of [{ ...context, weights: "abd" }, context]) {
      new FeatureStore(folder, other).put("other picture", features());
      copyFileSync(onlyFile(), `${folder}.copy`);
      rmSync(onlyFile());
      mkdirSync(path.dirname(file), { recursive: true });
      copyFileSync(`${folder}.copy`, file);
      rmSync(`${folder}.copy`);
      expectMiss(file);
      rmSync(file);
    }
  });
});

describe("a system that refuses", () => {
  test("at the start ends the run", () => {
    const file = path.join(folder, "file");
    writeFileSync(file, "");
    expect(() => new FeatureStore(file, context)).toThrow(
      expect.objectContaining({
        code: "output_unwritable",
        message: expect.stringContaining(`${file} cannot be used`),
      }),
    );
  });

  test("later costs the cache, not the run", () => {
    const store = new FeatureStore(folder, context);
    store.put("picture", features());
    const file = onlyFile();
    rmSync(file);
    mkdirSync(file); // neither to be read nor to be written over
    expect(store.get("picture")).toBeUndefined();
    store.put("picture", features());
    expect(store.stats).toEqual({ hits: 0, misses: 1, damaged: 0, failures: 2 });
    expect(readdirSync(path.join(folder, "temporary"))).toEqual([]);
    rmSync(folder, { recursive: true });
    store.put("picture", features());
    expect(store.get("picture")).toBeUndefined();
  });
});

/** Processes of their own, on the built package. */
describe("several processes", () => {
  const tokens = 1024;
  const width = 2048; // 8 MiB: writing takes longer than all the rest
  const keys = ["a", "b", "c", "d", "e", "f"];
  const expectedBits = keys.map((_, i) => Buffer.from(bytesOf(new Float32Array(tokens * width).fill(i + 0.5))));

  const writer = `
    const [dist, folder, context, rounds] = process.argv.slice(1);
    const { FeatureStore } = await import(dist + "/engine/pass/feature-store.js");
    const { tensorFrom } = await import(dist + "/torch/index.js");
    const store = new FeatureStore(folder, JSON.parse(context));
    const features = ${JSON.stringify(keys)}.map((key, i) =>
      [key, tensorFrom(new Float32Array(${tokens * width}).fill(i + 0.5), [${tokens}, ${width}])]);
    process.stdout.write("ready");
    for (let round = 0; round < Number(rounds); round++) for (const [key, tensor] of features) store.put(key, tensor);
    if (store.stats.failures > 0) process.exitCode = 1;
  `;

  beforeAll(() => ensureDist(here));

  async function startWriter(rounds: number): Promise<ChildProcess> {
    const dist = pathToFileURL(path.join(here.root, "dist")).href;
    const child = spawn(
      process.execPath,
      ["--input-type=module", "-e", writer, dist, folder, JSON.stringify(context), String(rounds)],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    await once(child.stdout, "data");
    return child;
  }

  /** Gets every key: each is missing or whole. -> how many were there. */
  function readAll(store: FeatureStore): number {
    let found = 0;
    for (const [i, key] of keys.entries()) {
      const tensor = store.get(key);
      if (!tensor) continue;
      expect(bits(tensor)?.equals(expectedBits[i] ?? Buffer.of()), key).toBe(true);
      tensor.dispose();
      found++;
    }
    return found;
  }

  test("write the same keys at once while a third reads them", async () => {
    const store = new FeatureStore(folder, context);
    const writers = await Promise.all([startWriter(8), startWriter(8)]);
    const ends = writers.map((child) => once(child, "exit"));
    while (writers.some((child) => child.exitCode === null && child.signalCode === null)) {
      readAll(store);
      await sleep(5);
    }
    expect(await Promise.all(ends)).toEqual([
      [0, null],
      [0, null],
    ]);
    expect(readAll(store)).toBe(keys.length);
    expect(store.stats).toMatchObject({ damaged: 0, failures: 0 });
    expect(readdirSync(path.join(folder, "temporary"))).toEqual([]);
  });

  test("may be killed while they write: what is there is whole, the rest is swept when it is old", async () => {
    const temporary = path.join(folder, "temporary");
    const leftovers = () => readdirSync(temporary).map((name) => path.join(temporary, name));
    for (let kill = 0; kill < 20 && !(kill >= 3 && leftovers().length > 0); kill++) {
      const child = await startWriter(1000);
      if (kill < 3) await sleep(20 + 7 * kill);
      else for (const end = Date.now() + 5000; leftovers().length === 0 && Date.now() < end; ); // until it has begun a file
      child.kill("SIGKILL");
      await once(child, "exit");
      const store = new FeatureStore(folder, context);
      readAll(store);
      expect(store.stats).toMatchObject({ damaged: 0, failures: 0 });
    }
    const [left = ""] = leftovers(); // at least one was killed before it could rename its file
    expect(left).not.toBe("");
    symlinkSync("nowhere", path.join(temporary, "link"));
    const fresh = leftovers();
    const twoHoursAgo = Date.now() / 1000 - 7200;
    utimesSync(left, twoHoursAgo, twoHoursAgo);
    const store = new FeatureStore(folder, context);
    expect(leftovers()).toEqual(fresh.filter((file) => file !== left));
    expect(store.stats.failures).toBe(0);
  });
});
