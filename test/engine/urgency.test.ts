/**
 * @file Who is answered first, too late or not at all: priorities, deadlines, cancellation in the middle of a pass. Seen by the order
 * of answers and by what the engine counts.
 */
import { getEventListeners } from "node:events";
import path from "node:path";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Group, type ReadRequest, RewardEngine } from "vl-reward";
import { randomFrom } from "../random-groups.ts";
import { fixtures, group, scored, scoresOf, user } from "./groups.ts";

/** A step of a pass is short here: a prompt of many words is cut into many. */
const options = { folder: path.join(fixtures, "plain"), dtype: "float32", device: "cpu", tokenBudget: 1024 } as const;
const text = (index: number): Group => group([user(`What is ${index}?`)], `It is ${index}.`);
/** One pass of as many steps as it has answers, nearly. */
const longPass = (answers: number): Group =>
  group([user("What?")], ...Array.from({ length: answers }, (_, index) => `${index} ${"word ".repeat(700)}`));

let engine: RewardEngine;
beforeEach(async () => {
  engine = await RewardEngine.open(options);
});
afterEach(() => engine.close());

async function passBegan(): Promise<void> {
  while (engine.stats.computeSeconds === 0) await sleep(1);
}

describe("priority", () => {
  test("an urgent group behind many others is answered before most of them", async () => {
    const order: string[] = [];
    const slow = Array.from({ length: 60 }, (_, index) => group([user(`${index} ${"word ".repeat(700)}`)], "Yes."));
    const others = slow.map(async (one) => {
      scoresOf(await engine.scoreGroup(one));
      order.push("other");
    });
    const urgent = engine.scoreGroup(text(1), { priority: 1 }).then(() => order.push("urgent"));
    await Promise.all([...others, urgent]);
    expect(order.indexOf("urgent")).toBeLessThan(20);
  });

  test("it interrupts a pass that is running, and a group of less urgency waits for the end", async () => {
    const order: string[] = [];
    const note = (name: string) => () => order.push(name);
    const long = engine.scoreGroup(longPass(30)).then((result) => {
      expect(scoresOf(result)).toHaveLength(30);
      order.push("long");
    });
    await passBegan();
    const low = engine.scoreGroup(text(1), { priority: -1 }).then(note("low"));
    const urgent = engine.scoreGroup(longPass(3), { priority: 1 }).then(note("urgent"));
    const small = engine.scoreGroup(text(2)).then(note("small"));
    await Promise.all([long, low, urgent, small]);
    expect(order.slice(0, 2).toSorted()).toEqual(["small", "urgent"]);
    expect(order.slice(2)).toEqual(["long", "low"]);
  });

  test("the bits of a pass that was interrupted are those of one that was not", async () => {
    const [alone] = await scored(engine, [longPass(8)]);
    const interrupted = engine.scoreGroup(longPass(8));
    for (let index = 0; index < 20; index++) await engine.scoreGroup(text(index), { priority: 1 });
    expect(scoresOf(await interrupted)).toEqual(scoresOf(alone));
  });
});

describe("deadlines", () => {
  test("one that is past: its error, and nothing is computed", async () => {
    const late = await engine.scoreGroup(text(1), { deadline: Date.now() - 1 });
    expect(late).toHaveProperty("error.code", "deadline_exceeded");
    const results = engine.score([text(1), text(2)], { deadline: Date.now() - 1 });
    for await (const result of results) expect(result).toHaveProperty("error.code", "deadline_exceeded");
    expect(engine.stats).toMatchObject({ sequences: 0, tokens: 0 });
    expect(engine.stats.caches.prefixes).toMatchObject({ entries: 0, misses: 0 });
  });

  test("one that passes while others are computed; one that does not", async () => {
    const long = engine.scoreGroup(longPass(20));
    await passBegan();
    const late = engine.scoreGroup(text(1), { priority: -1, deadline: Date.now() + 1 });
    const inTime = engine.scoreGroup(text(2), { priority: -1, deadline: Date.now() + 600_000 });
    expect(await late).toHaveProperty("error.code", "deadline_exceeded");
    expect(scoresOf(await long)).toHaveLength(20);
    expect(scoresOf(await inTime)).toHaveLength(1);
    expect(engine.stats.sequences).toBe(21);
  });
});

describe("cancelling", () => {
  test("a group whose pass is running: the rest of it is not computed", async () => {
    const stop = new AbortController();
    const long = engine.scoreGroup(longPass(200), { signal: stop.signal });
    await passBegan();
    stop.abort(new Error("enough"));
    await expect(long).rejects.toThrow("enough");
    // One that is less urgent begins when no other pass is left.
    expect(scoresOf(await engine.scoreGroup(text(1), { priority: -1 }))).toHaveLength(1);
    expect(engine.stats.sequences).toBe(1);
    expect(engine.stats.caches.prefixes.entries).toBe(1); // a pass that comes to its end leaves its prompt here
  });

  test("one of several in a pass: the others are answered", async () => {
    const [expected] = await scored(engine, [text(2)]);
    const long = engine.scoreGroup(longPass(20), { priority: 1 });
    await passBegan();
    const stop = new AbortController();
    const given = [text(1), text(2), text(3)];
    const results = given.map((one, index) => engine.scoreGroup(one, index === 0 ? { signal: stop.signal } : {}));
    await turn();
    stop.abort(new Error("enough"));
    await expect(results[0]).rejects.toThrow("enough");
    expect(scoresOf(await results[1])).toEqual(scoresOf(expected));
    expect(scoresOf(await results[2])).toHaveLength(1);
    await long;
  });

  test("a signal that lives on holds nothing of what is done", async () => {
    const { signal } = new AbortController();
    const listeners = () => getEventListeners(signal, "abort").length;
    await engine.scoreGroup(text(1), { signal });
    expect(listeners()).toBe(0);
    await engine.readGroup(text(1), [{ kind: "rewards" }], { signal });
    expect(listeners()).toBe(0);
    await engine.scoreGroup(group([user("What?", "media/absent.png")], "This."), { signal });
    await engine.scoreGroup(text(1), { signal, deadline: 1 });
    expect(listeners()).toBe(0);
    for await (const result of engine.score([text(1), text(2)], { signal })) expect(scoresOf(result)).toHaveLength(1);
    expect(listeners()).toBe(0);
    for await (const _ of engine.read([text(1), text(2)], [{ kind: "reward" }], { signal })) break;
    expect(listeners()).toBe(0);
    const pending = Promise.allSettled([
      engine.scoreGroup(longPass(9), { signal }),
      engine.score([longPass(9)], { signal }).next(),
    ]);
    await engine.close();
    for (const { status } of await pending) expect(status).toBe("rejected");
    await expect(engine.scoreGroup(text(1), { signal })).rejects.toHaveProperty("code", "engine_closed");
    await expect(engine.score([text(1)], { signal }).next()).rejects.toHaveProperty("code", "engine_closed");
    expect(listeners()).toBe(0);
  });

  test("a thousand small groups, some with pictures, many of them given up at any time", async () => {
    const random = randomFrom(5);
    const kinds = [
      ...Array.from({ length: 7 }, (_, index) => text(index)),
      group([user("What is this?", "media/grey.png")], "A wave.", "No."),
      group([user("What is this?", "media/odd.jpg")], "A gradient."),
    ];
    const expected = (await scored(engine, kinds)).map(scoresOf);
    const counts = { answered: 0, givenUp: 0 };
    await Promise.all(
      Array.from({ length: 1000 }, async () => {
        const [kind, stop, priority] = [random(kinds.length), new AbortController(), random(3)];
        const patience = random(2) === 0 ? random(400) : Number.POSITIVE_INFINITY;
        const given = engine.scoreGroup(kinds[kind] as Group, { signal: stop.signal, priority });
        const giveUp = async () => {
          for (let turns = 0; turns < patience && Number.isFinite(patience); turns++) await turn();
          if (Number.isFinite(patience)) stop.abort(new Error("enough"));
        };
        const [outcome] = await Promise.allSettled([given, giveUp()]);
        if (outcome.status === "fulfilled") {
          expect(scoresOf(outcome.value)).toEqual(expected[kind]);
          counts.answered++;
        } else {
          expect(outcome.reason).toHaveProperty("message", "enough");
          counts.givenUp++;
        }
      }),
    );
    expect(counts.answered).toBeGreaterThan(400);
    expect(counts.givenUp).toBeGreaterThan(50);
    expect((await scored(engine, kinds)).map(scoresOf)).toEqual(expected);
  });
});

test("a group that fails in a pass does not harm the others of it", async () => {
  const request: ReadRequest = { kind: "nextToken", positions: [12] };
  const short = group([user("What?")], "Yes.");
  const answers = ["word ", "other "].map((word) => group([user("What?")], word.repeat(20)));
  const alone = [];
  for (const one of answers) alone.push(await engine.readGroup(one, [request]));
  const long = engine.scoreGroup(longPass(10), { priority: 1 }); // all that follow wait, and are a pass then
  const groups = [short, ...answers, short];
  const results = await Promise.all(groups.map((one) => engine.readGroup(one, [request])));
  expect(results[0]).toHaveProperty("error.code", "invalid_record");
  expect(results[3]).toHaveProperty("error.code", "invalid_record");
  const found = results.slice(1, 3).map((result) => ("answers" in result ? result.answers : result));
  expect(found).toEqual(alone.map((result) => ("answers" in result ? result.answers : result)));
  expect(scoresOf(await long)).toHaveLength(10);
});

test("closing while groups are prepared, wait and are computed settles them all", async () => {
  const picture = group(
    [user("What is this?", path.join(import.meta.dirname, "../../examples/pictures/coffee.jpg"))],
    "A.",
  );
  const given = [longPass(30), ...Array.from({ length: 50 }, (_, index) => (index % 5 === 0 ? picture : text(index)))];
  const all = Promise.allSettled(given.map((one) => engine.scoreGroup(one)));
  await passBegan();
  await engine.close();
  const outcomes = await all;
  expect(outcomes).toHaveLength(51);
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled") expect(scoresOf(outcome.value).every(Number.isFinite)).toBe(true);
    else expect(outcome.reason).toHaveProperty("code", "engine_closed");
  }
  expect(outcomes.some(({ status }) => status === "rejected")).toBe(true);
});
