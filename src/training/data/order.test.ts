import { describe, expect, test } from "vitest";
import fixture from "../../../test/fixtures/order/expected.json" with { type: "json" };
import { type BatchEntry, type StageOrder, StagePlan } from "./order.ts";

/** A source of records with so many pairs. */
const file = (pairs: readonly number[], weight = 1, together = 1) => ({
  source: { name: "a.jsonl", length: pairs.length, together, pairsOf: (record: number) => pairs[record] ?? 0 },
  weight,
});
const endless = (pairs: number, weight: number, together = 1) => ({
  source: { name: "made", length: Number.POSITIVE_INFINITY, together, pairsOf: () => pairs },
  weight,
});
const ones = (count: number) => Array.from({ length: count }, () => 1);

function planOf(order: Partial<StageOrder> & Pick<StageOrder, "sources">): StagePlan {
  return new StagePlan({ seed: 1, stage: 0, batchSize: 4, shuffle: true, length: { epochs: 1 }, ...order });
}

/** A batch as its pairs' names: file, record, pair. */
const pairsOf = (entries: readonly BatchEntry[]) =>
  entries.flatMap(({ source, record, pairs }) => pairs.map((pair) => `${source}:${record}:${pair}`));
const batches = (plan: StagePlan) => Array.from({ length: plan.steps }, (_, step) => pairsOf(plan.batch(step + 1)));
const stream = (plan: StagePlan) => batches(plan).flat();

const everyPair = (sources: StageOrder["sources"]) =>
  sources.flatMap(({ source: { length, pairsOf } }, index) =>
    Array.from({ length }, (_, record) =>
      Array.from({ length: pairsOf(record) }, (_, pair) => `${index}:${record}:${pair}`),
    ).flat(),
  );
const sorted = (names: readonly string[]) => [...names].sort();

describe("an epoch", () => {
  const files = [file([1, 3, 1, 2, 6, 1]), file(ones(11)), file([10])];

  test("holds each pair exactly once at weight 1, and the next one again, otherwise", () => {
    const plan = planOf({ sources: files, length: { epochs: 3 } });
    expect([plan.pairsPerEpoch, plan.pairs, plan.steps]).toEqual([35, 105, 27]);
    const all = stream(plan);
    const epochs = [0, 35, 70].map((start) => all.slice(start, start + 35));
    for (const epoch of epochs) expect(sorted(epoch)).toEqual(sorted(everyPair(files)));
    expect(new Set(epochs.map((epoch) => epoch.join())).size).toBe(3);
  });

  test("keeps the pairs of a record together, in order", () => {
    const all = stream(planOf({ sources: files }));
    for (const pair of everyPair(files)) {
      const [index, record, number] = pair.split(":");
      if (number !== "0") expect(all[all.indexOf(pair) - 1]).toBe(`${index}:${record}:${Number(number) - 1}`);
    }
  });

  test("mixes files: none stands in one block", () => {
    const all = stream(planOf({ sources: [file(ones(50)), file(ones(50))] }));
    const changes = all.filter((name, index) => index > 0 && name[0] !== all[index - 1]?.[0]).length;
    expect(changes).toBeGreaterThan(30); // 50 on average, with a standard deviation of 5
  });

  test.each([
    [0.5, 2],
    [0.25, 4],
  ])("at weight %d holds a part; %i of them hold everything once", (weight, parts) => {
    const halved = [file(ones(40), weight), file(ones(8))];
    const size = 40 * weight + 8;
    const all = stream(planOf({ sources: halved, length: { epochs: 2 * parts } }));
    for (let first = 0; first < 2 * parts; first += parts) {
      const whole = all.slice(first * size, (first + parts) * size).filter((name) => name.startsWith("0:"));
      expect(sorted(whole)).toEqual(sorted(everyPair(halved).filter((name) => name.startsWith("0:"))));
    }
    for (let epoch = 0; epoch < 2 * parts; epoch++) {
      const others = all.slice(epoch * size, (epoch + 1) * size).filter((name) => name.startsWith("1:"));
      expect(others).toHaveLength(8);
    }
  });

  test("at weight 2 holds every pair twice", () => {
    const twice = [file([2, 1, 1], 2)];
    expect(sorted(stream(planOf({ sources: twice })))).toEqual(sorted([...everyPair(twice), ...everyPair(twice)]));
  });

  test("holds round(weight x pairs) of a file; over many epochs each pair as often as the others", () => {
    const uneven = [file([1, 4, 2], 0.4)]; // 2.8 pairs: 3
    const plan = planOf({ sources: uneven, length: { epochs: 70 } });
    expect(plan.pairsPerEpoch).toBe(3);
    const counts = new Map<string, number>();
    for (const name of stream(plan)) counts.set(name, (counts.get(name) ?? 0) + 1);
    expect([...counts.values()]).toEqual(ones(7).map(() => 30));
  });
});

describe("batches", () => {
  test("run on over the end of an epoch; only the last one is smaller", () => {
    const plan = planOf({ sources: [file(ones(10))], length: { epochs: 3 } });
    expect(batches(plan).map((batch) => batch.length)).toEqual([4, 4, 4, 4, 4, 4, 4, 2]);
  });

  test("are all full when their number is given, however long that takes", () => {
    const plan = planOf({ sources: [file(ones(3))], length: { steps: 5 }, batchSize: 8 });
    expect([plan.steps, plan.pairs]).toEqual([5, 40]);
    expect(batches(plan).map((batch) => batch.length)).toEqual([8, 8, 8, 8, 8]);
    expect(sorted(stream(plan).slice(0, 39))).toEqual(sorted(ones(13).flatMap(() => everyPair([file(ones(3))]))));
  });

  test("share a record that does not fit into one, its pairs divided", () => {
    const plan = planOf({ sources: [file([10])] });
    const entry = (pairs: number[]) => [{ source: 0, record: 0, pairs }];
    expect([1, 2, 3].map((step) => plan.batch(step))).toEqual([
      entry([0, 1, 2, 3]),
      entry([4, 5, 6, 7]),
      entry([8, 9]),
    ]);
  });

  test("half an epoch is half of its pairs", () => {
    expect(planOf({ sources: [file(ones(10))], length: { epochs: 0.5 } }).pairs).toBe(5);
  });

  test.each([0, 4, 1.5, -1])("there is no step %d of 3", (step) => {
    expect(() => planOf({ sources: [file(ones(10))] }).batch(step)).toThrow(RangeError);
  });
});

describe("the order is a function of seed, stage and step", () => {
  const files = [file([1, 3, 1, 2, 6, 1]), file(ones(30), 0.7)];
  const order = { sources: files, length: { epochs: 5 } };

  test("a resumed run goes on as the uninterrupted one", () => {
    const whole = batches(planOf(order));
    for (const start of [1, 5, 20, whole.length]) {
      const resumed = planOf(order);
      for (let step = start; step <= whole.length; step++)
        expect(pairsOf(resumed.batch(step))).toEqual(whole[step - 1]);
    }
    const backwards = planOf(order);
    for (let step = whole.length; step >= 1; step--) expect(pairsOf(backwards.batch(step))).toEqual(whole[step - 1]);
  });

  test("another seed or stage has another order of the same pairs", () => {
    const orders = [planOf(order), planOf({ ...order, seed: 2 }), planOf({ ...order, stage: 1 })].map(stream);
    expect(new Set(orders.map((names) => names.join())).size).toBe(3);
  });

  test("another batch size has the same order of pairs", () => {
    expect(stream(planOf({ ...order, batchSize: 7 }))).toEqual(stream(planOf(order)));
  });

  test("does not change with versions of this program", () => {
    for (const { stage, pairs } of fixture.stages) {
      const { seed, batch_size: batchSize, epochs, files, index } = stage;
      const described = files.map(({ pairs: counts, weight }) => file(counts, weight));
      const plan = planOf({ seed, stage: index, batchSize, sources: described, length: { epochs } });
      expect(stream(plan)).toEqual(pairs);
    }
  });
});

describe("without shuffling", () => {
  test.each([
    [7, 3, 9],
    [5, 4, 2],
    [2, 5, 3],
  ])("one file of %i in batches of %i is train.py's order, round and round", (records, batchSize, steps) => {
    const plan = planOf({ sources: [file(ones(records))], batchSize, shuffle: false, length: { steps } });
    // train.py: records[(start + offset) % len(records)], start = step * batch
    const expected = Array.from({ length: steps }, (_, step) =>
      Array.from({ length: batchSize }, (_, offset) => `0:${(step * batchSize + offset) % records}:0`),
    );
    expect(batches(plan)).toEqual(expected);
  });

  test("files follow each other, and a half is followed by the other", () => {
    const plan = planOf({ sources: [file(ones(4), 0.5), file([2, 1])], shuffle: false, length: { epochs: 2 } });
    expect(stream(plan).join(" ")).toBe("0:0:0 0:1:0 1:0:0 1:0:1 1:1:0 0:2:0 0:3:0 1:0:0 1:0:1 1:1:0");
  });
});

describe("a source without end", () => {
  const records = (plan: StagePlan) =>
    stream(plan).flatMap((name) => (name.endsWith(":0") ? [name.split(":").slice(0, 2).join(":")] : []));

  test("gives each record once, over all epochs", () => {
    const plan = planOf({ sources: [endless(3, 0.01, 4)], length: { steps: 40 }, batchSize: 12 });
    const seen = records(plan);
    expect(seen).toHaveLength(160);
    expect(new Set(seen).size).toBe(160);
    // An epoch of weight 0.01 is 41 pairs, in whole groups of 4 x 3: 36.
    expect(plan.pairsPerEpoch).toBe(36);
    expect(sorted(seen.slice(0, 12))).toEqual(sorted(Array.from({ length: 12 }, (_, record) => `0:${record}`)));
  });

  test("keeps together what belongs together, and whole in a batch where that fits", () => {
    const plan = planOf({ sources: [endless(3, 1, 4)], length: { steps: 20 }, batchSize: 24 });
    for (const batch of batches(plan)) {
      const seen = batch.map((name) => Number(name.split(":")[1]));
      expect(seen[0]).toBe(Math.floor((seen[0] ?? 0) / 4) * 4);
      const group = (first = 0) => Array.from({ length: 12 }, (_, pair) => first + Math.floor(pair / 3));
      expect(seen).toEqual([...group(seen[0]), ...group(seen[12])]);
    }
  });

  test("is mixed with a file by weight, and by weight with another one", () => {
    const beside = planOf({ sources: [file(ones(100)), endless(1, 3)], length: { epochs: 2 } });
    expect(beside.pairsPerEpoch).toBe(400);
    expect(records(beside).filter((name) => name.startsWith("0:"))).toHaveLength(200);
    const two = planOf({ sources: [endless(1, 0.1), endless(1, 0.3)], length: { steps: 1000 } });
    const share = records(two).filter((name) => name.startsWith("1:")).length / 4000;
    expect(Math.abs(share - 0.75)).toBeLessThan(0.05);
  });

  test("goes on after a resume as it would have, and in its own order without shuffling", () => {
    const order = { sources: [endless(3, 0.02, 2), file([1, 2])], length: { steps: 60 }, batchSize: 10 };
    const whole = batches(planOf(order));
    const resumed = planOf(order);
    for (let step = 41; step <= 60; step++) expect(pairsOf(resumed.batch(step))).toEqual(whole[step - 1]);
    const straight = planOf({ sources: [endless(2, 1)], shuffle: false, length: { steps: 9 } });
    expect(records(straight)).toEqual(Array.from({ length: 18 }, (_, record) => `0:${record}`));
  });
});

test("groups of a source that ends are shuffled whole", () => {
  const plan = planOf({ sources: [file(ones(30), 1, 5)], length: { epochs: 2 }, batchSize: 5 });
  const groups = batches(plan).map((batch) => batch.map((name) => Number(name.split(":")[1])));
  for (const group of groups) expect(group).toEqual(Array.from({ length: 5 }, (_, at) => (group[0] ?? 0) + at));
  expect(new Set(groups.slice(0, 6).map(([first]) => first))).toEqual(new Set([0, 5, 10, 15, 20, 25]));
  expect(groups.slice(0, 6).map(([first]) => first)).not.toEqual([0, 5, 10, 15, 20, 25]);
});

test("a file that gives nothing to an epoch is refused", () => {
  const refused = (sources: StageOrder["sources"], message: string) =>
    expect(() => planOf({ sources })).toThrowError(
      expect.objectContaining({ code: "usage", message: expect.stringContaining(message) }),
    );
  refused([file([])], "take it out");
  refused([file(ones(3), 0.1)], "raise the weight");
  refused([], "at least one file");
});

test("a million records are put in order, each once an epoch", () => {
  const plan = planOf({ sources: [file(ones(1_000_000))], length: { epochs: 2 }, batchSize: 64 });
  const seen = new Uint8Array(1_000_000);
  for (let step = 1; step <= 15_625; step++)
    for (const { record } of plan.batch(step)) seen[record] = (seen[record] ?? 0) + 1;
  expect(seen.every((count) => count === 1)).toBe(true);
});
