/**
 * @file Several devices: one compute thread each. Without GPUs two on the CPU show what there is to show.
 */

import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type EngineOptions, type Group, RewardEngine } from "vl-reward";
import { fixtures, group, scored, scoresOf, user } from "./groups.ts";

const options = { folder: path.join(fixtures, "plain"), dtype: "float32", device: "cpu,cpu" } as const;
const text = (index: number): Group => group([user(`What is ${index}?`)], `It is ${index}.`, `It is not ${index}.`);

const pictures = ["odd.jpg", "tiny.png", "wide.png", "grey.png"];
const mixed = Array.from({ length: 60 }, (_, index) => {
  if (index % 20 === 7) return group([user("What?", `absent-${index}.png`)], "This.");
  return index % 3 === 0
    ? group([user("What is this?", `media/${pictures[(index / 3) % 4]}`)], `A wave ${index}.`, "I do not know.")
    : text(index);
});

async function withEngine<T>(given: EngineOptions, body: (engine: RewardEngine) => Promise<T>): Promise<T> {
  await using engine = await RewardEngine.open(given);
  return await body(engine);
}

const outcomes = async (engine: RewardEngine) =>
  (await scored(engine, mixed)).map((result) => ("error" in result ? result.error.code : scoresOf(result)));

test("two give the bits of one, in order, and both have worked", async () => {
  const alone = await withEngine({ ...options, device: "cpu" }, async (engine) => {
    expect(engine.info.devices).toEqual(["cpu"]);
    expect(engine.stats.devices).toHaveLength(1);
    return outcomes(engine);
  });
  await withEngine(options, async (engine) => {
    expect(engine.info).toMatchObject({ devices: ["cpu", "cpu"], dtype: "float32" });
    expect(await outcomes(engine)).toEqual(alone);
    const { devices, ...total } = engine.stats;
    expect(devices.map(({ device }) => device)).toEqual(["cpu", "cpu"]);
    for (const { sequences, computeSeconds } of devices) {
      expect(sequences).toBeGreaterThan(10);
      expect(computeSeconds).toBeGreaterThan(0);
    }
    const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);
    expect(total.sequences).toBe(2 * (mixed.length - 3));
    expect(sum(devices.map(({ sequences }) => sequences))).toBe(total.sequences);
    expect(sum(devices.map(({ tokens }) => tokens))).toBe(total.tokens);
    expect(sum(devices.map(({ computeSeconds }) => computeSeconds))).toBe(total.computeSeconds);
    expect(sum(devices.map(({ caches }) => caches.prefixes.entries))).toBe(total.caches.prefixes.entries);
  });
});

test("groups with one prompt go where it is known", async () => {
  await withEngine(options, async (engine) => {
    for (let prompt = 0; prompt < 4; prompt++) {
      const before = engine.stats.devices.map(({ sequences }) => sequences);
      for (let answer = 0; answer < 3; answer++) {
        await engine.scoreGroup(group([user(`Which is the ${prompt}th?`)], `The ${answer}th.`));
      }
      const added = engine.stats.devices.map(({ sequences }, index) => sequences - (before[index] ?? 0));
      expect(added.toSorted((a, b) => a - b)).toEqual([0, 3]);
    }
    expect(engine.stats.caches.prefixes).toMatchObject({ hits: 8, misses: 4 });
  });
});

describe("cancelling and closing", () => {
  const long = Array.from({ length: 40 }, (_, index) => group([user(`${index} ${"word ".repeat(1500)}`)], "Yes."));

  test("an aborted run is forgotten by both, and later ones are scored", async () => {
    await withEngine(options, async (engine) => {
      const stop = new AbortController();
      const run = engine.score(long, { signal: stop.signal });
      await run.next();
      stop.abort(new Error("enough"));
      await expect(run.next()).rejects.toThrow("enough");
      const later = await scored(engine, [text(1), text(2)]);
      for (const result of later) expect(scoresOf(result)).toHaveLength(2);
      expect(engine.stats.sequences).toBeLessThan(long.length);
    });
  });

  test("closing ends both in the middle of a pass", async () => {
    const engine = await RewardEngine.open(options);
    const results = Promise.allSettled(long.map((one) => engine.scoreGroup(one)));
    await Promise.race([results, sleep(200)]);
    await engine.close();
    expect((await results).map((result) => ("reason" in result ? result.reason.code : ""))).toContain("engine_closed");
  });
});

test.each([
  ["cpu,cuda:99", "device_unavailable", "cuda:99"],
  ["cpu,abacus", "usage", '"abacus"'],
  ["cpu,auto", "usage", "cannot hold auto"],
  ["cuda:1,cuda:1", "usage", "cuda:1 twice"],
  ["cuda,cuda:0", "usage", "cuda:0 twice"],
  ["cpu,", "usage", '""'],
])("opening %j rejects with %s", async (device, code, words) => {
  const opened = RewardEngine.open({ ...options, device });
  await expect(opened).rejects.toMatchObject({ name: "VlRewardError", code, message: expect.stringContaining(words) });
});
