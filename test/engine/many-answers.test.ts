/** @file One record of very many answers: bounded, heard of while it goes on, and each answer the same as alone. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RewardEngine } from "vl-reward";
import { root } from "../cli/command.ts";
import { group, scored, scoresOf, user } from "./groups.ts";

let engine: RewardEngine;
beforeAll(async () => {
  engine = await RewardEngine.open({ folder: `${root}/models/tiny`, dtype: "float32", device: "cpu" });
});
afterAll(() => engine.close());

const question = user("Name a number.");
const answers = Array.from({ length: 3000 }, (_, index) => `The number is ${index}.`);

test("an answer's score has the bits that it has alone, and the count moves inside the record", async () => {
  const counts: number[] = [];
  const all = engine.scoreGroup(group([question], ...answers));
  for (let done = false; !done; ) {
    done = await Promise.race([all.then(() => true), sleep(20, false)]);
    counts.push(engine.stats.sequencesInside);
  }
  const scores = scoresOf(await all);
  const some = answers.filter((_, index) => index % 250 === 0);
  const alone = await scored(
    engine,
    some.map((answer) => group([question], answer)),
  );
  expect(scores.filter((_, index) => index % 250 === 0)).toEqual(alone.flatMap((result) => scoresOf(result)));
  expect(counts).toEqual(
    counts
      .slice(0, -1)
      .toSorted((a, b) => a - b)
      .concat(0),
  ); // over, and nothing is left
  expect(new Set(counts).size).toBeGreaterThan(5);
});

test("a record that is being prepared for long can be given up, and others are prepared meanwhile", async () => {
  const stop = new AbortController();
  const given = engine.scoreGroup(group([question], ...answers, ...answers.map((one) => `${one} Yes.`)), {
    signal: stop.signal,
  });
  const [other] = await scored(engine, [group([user("What is 2 + 2?")], "4.")]);
  expect(scoresOf(other)).toHaveLength(1);
  stop.abort(new Error("enough"));
  await expect(given).rejects.toThrow("enough");
});

test("more answers than fit the memory are refused, and the next group is scored", async () => {
  const results = await scored(engine, [
    group([question], ...new Array<string>(100_001).fill("Yes.")),
    group([question], "Yes."),
  ]);
  expect(results[0]).toMatchObject({ error: { code: "invalid_record", message: expect.stringContaining("100001") } });
  expect(scoresOf(results[1])).toHaveLength(1);
});
