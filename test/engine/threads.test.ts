/**
 * @file The engine's threads: the caller's stays free, order is kept, reading ahead has a bound, and everything ends when it
 * is told to.
 */

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Group, type GroupResult, RewardEngine, readAhead } from "vl-reward";
import { fixtures, group, scored, scoresOf, user } from "./groups.ts";

const options = { folder: path.join(fixtures, "plain"), dtype: "float32", device: "cpu" } as const;
const text = (index: number): Group => group([user(`What is ${index}?`)], `It is ${index}.`);

let engine: RewardEngine;
beforeEach(async () => {
  engine = await RewardEngine.open(options);
});
afterEach(() => engine.close());

test("the caller's event loop goes on turning while a model is opened, a picture read and a text scored", async () => {
  const picture = path.join(import.meta.dirname, "../../examples/pictures/coffee.jpg");
  let own = engine;
  for (const work of [
    async () => {
      own = await RewardEngine.open(options);
    },
    () => own.scoreGroup(group([user("What is this?", picture)], "Coffee.", "Tea.")),
    () => own.scoreGroup(group([user("word ".repeat(4000))], "Yes.")),
  ]) {
    let done = false;
    const working = work().then((result) => {
      done = true;
      return result;
    });
    for (let turns = 0; turns < 100; turns++) await turn();
    expect(done).toBe(false); // on this thread it would be done, or would have let through a few turns only
    const result = await working;
    if (result) expect(scoresOf(result).every(Number.isFinite)).toBe(true);
  }
  await own.close();
});

test("thousands of groups come back in order, read ahead by no more than the bound", async () => {
  const total = 2000;
  let [read, given, furthest] = [0, 0, 0];
  function* source() {
    for (; read < total; read++) {
      furthest = Math.max(furthest, read - given);
      yield read % 10 === 3 ? group([user("What?", `absent-${read}.png`)], "This.") : text(read % 7);
    }
  }
  const first = new Map<number, number>(); // the score of each of the seven texts
  for await (const result of engine.score(source())) {
    if (given % 10 === 3) {
      expect(result).toHaveProperty("error.message", expect.stringContaining(`absent-${given}.png`));
    } else {
      const [score = Number.NaN] = scoresOf(result);
      const expected = first.get(given % 7) ?? score;
      first.set(given % 7, expected);
      expect(Math.abs(score - expected)).toBeLessThan(1e-5);
    }
    given++;
  }
  expect(given).toBe(total);
  expect(new Set(first.values()).size).toBe(7);
  expect(furthest).toBeLessThanOrEqual(readAhead.groups);
  expect(furthest).toBeGreaterThan(readAhead.groups / 2);
});

test("several calls run at once, each with its own order and end", async () => {
  const alone = await scored(engine, [text(1), text(2), text(3)]);
  const stop = new AbortController();
  const stopped = engine.score([text(4), text(5)], { signal: stop.signal });
  await stopped.next();
  const [one, two] = [engine.score([text(1), text(2), text(3)]), engine.score([text(3), text(2), text(1)])];
  const results: [GroupResult | undefined, GroupResult | undefined][] = [];
  for (let index = 0; index < 3; index++) {
    const [a, b] = await Promise.all([one.next(), two.next()]);
    results.push([a.value ?? undefined, b.value ?? undefined]);
    if (index === 0) stop.abort(new Error("only this one"));
  }
  for (const [index, expected] of alone.entries()) {
    const [score = Number.NaN] = scoresOf(expected);
    expect(scoresOf(results[index]?.[0])[0]).toBeCloseTo(score, 5);
    expect(scoresOf(results[2 - index]?.[1])[0]).toBeCloseTo(score, 5);
  }
  await expect(stopped.next()).rejects.toThrow("only this one");
});

describe("with an address that does not answer", () => {
  const requests: { readonly answer: ServerResponse; readonly closed: Promise<unknown> }[] = [];
  const server = createServer((request: IncomingMessage, answer) => {
    requests.push({ answer, closed: once(request.socket, "close") });
  });
  let hanging: Group;
  beforeAll(async () => {
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    hanging = group([user("What is this?", `http://127.0.0.1:${port}/picture.png`)], "A wave in grey.");
  });
  beforeEach(() => {
    requests.length = 0;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  async function requested(count: number): Promise<void> {
    while (requests.length < count) await sleep(5);
  }

  test("others are scored meanwhile, and the order is kept", async () => {
    const results = scored(engine, [hanging, ...Array.from({ length: 20 }, (_, index) => text(index)), hanging]);
    await requested(2);
    while (engine.stats.sequences < 20) await sleep(5);
    for (const { answer } of requests) answer.end(readFileSync(path.join(fixtures, "media/grey.png")));
    const all = await results;
    expect(all).toHaveLength(22);
    const local = await scored(engine, [group([user("What is this?", "media/grey.png")], "A wave in grey."), text(19)]);
    expect(scoresOf(all[0])[0]).toBeCloseTo(scoresOf(local[0])[0] ?? Number.NaN, 5);
    expect(scoresOf(all[21])[0]).toBeCloseTo(scoresOf(local[0])[0] ?? Number.NaN, 5);
    expect(scoresOf(all[20])[0]).toBeCloseTo(scoresOf(local[1])[0] ?? Number.NaN, 5);
  });

  test("the signal ends the run at once, gives up the fetch and forgets what waits", async () => {
    const stop = new AbortController();
    const many = Array.from({ length: 400 }, () => hanging);
    const results = engine.score(many, { signal: stop.signal });
    const next = results.next();
    await requested(1);
    const order: string[] = [];
    for (const { closed } of requests) void closed.then(() => order.push("fetch given up"));
    stop.abort(new Error("enough"));
    await expect(next).rejects.toThrow("enough");
    order.push("rejected");
    await Promise.all(requests.map(({ closed }) => closed));
    expect(order[0]).toBe("rejected");
    const { length } = requests;
    expect(length).toBeLessThan(100); // no more than are prepared at once
    expect(scoresOf((await scored(engine, [text(1)]))[0])).toHaveLength(1);
    expect(engine.stats.sequences).toBe(1);
    expect(requests).toHaveLength(length);
  });

  test("so does leaving the loop", async () => {
    for await (const result of engine.score([text(1), hanging, hanging])) {
      expect(scoresOf(result)).toHaveLength(1);
      await requested(2);
      break;
    }
    await Promise.all(requests.map(({ closed }) => closed));
    expect(requests).toHaveLength(2);
  });

  test("closing rejects what is pending, and what comes later", async () => {
    const next = engine.score([hanging]).next();
    const one = engine.scoreGroup(hanging);
    await requested(2);
    const settled = Promise.allSettled([next, one]);
    await engine.close();
    for (const result of await settled) expect(result).toHaveProperty("reason.code", "engine_closed");
    await expect(engine.score([text(1)]).next()).rejects.toHaveProperty("code", "engine_closed");
    await expect(engine.scoreGroup(text(1))).rejects.toHaveProperty("code", "engine_closed");
    await Promise.all(requests.map(({ closed }) => closed));
  });
});

test("closing does not wait for a pass that is running", async () => {
  const words = (count: number) => group([user("word ".repeat(count))], "Yes.");
  const other = await RewardEngine.open(options);
  const running = engine.scoreGroup(words(16_000)).catch((error) => error.code);
  await sleep(200); // for the pass to begin
  const closed = engine.close().then(() => "closed");
  expect(await Promise.race([closed, other.scoreGroup(words(4000)).then(() => "a shorter pass")])).toBe("closed");
  expect(await running).toBe("engine_closed");
  await other.close();
});

test("what is no plain data is that group's error", async () => {
  const odd = { ...text(1), extra: () => {} };
  const [bad, good] = await scored(engine, [odd, text(1)]);
  expect(bad).toHaveProperty("error.code", "invalid_record");
  expect(scoresOf(good)).toHaveLength(1);
});

test.each([
  [{ ...options, folder: path.join(fixtures, "absent") }, "config_invalid"],
  [{ ...options, device: "cuda:99" }, "device_unavailable"],
  [{ ...options, device: "abacus" }, "usage"],
])("opening %j rejects with %s", async (wrong, code) => {
  await expect(RewardEngine.open(wrong)).rejects.toMatchObject({ name: "VlRewardError", code });
});
