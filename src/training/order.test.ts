import { describe, expect, test } from "vitest";
import fixture from "../../test/fixtures/order/expected.json" with { type: "json" };
import { type BatchEntry, type StageOrder, StagePlan } from "./order.ts";

const file = (pairs: readonly number[], weight = 1) => ({ pairs: Uint32Array.from(pairs), weight, path: "a.jsonl" });
const ones = (count: number) => Array.from({ length: count }, () => 1);

function planOf(order: Partial<StageOrder> & Pick<StageOrder, "files">): StagePlan {
  return new StagePlan({ seed: 1, stage: 0, batchSize: 4, shuffle: true, length: { epochs: 1 }, ...order });
}

/** A batch as its pairs' names: file, record, pair. */
const pairsOf = (entries: readonly BatchEntry[]) =>
  entries.flatMap(({ file, record, pairs }) => pairs.map((pair) => `${file}:${record}:${pair}`));
const batches = (plan: StagePlan) => Array.from({ length: plan.steps }, (_, step) => pairsOf(plan.batch(step + 1)));
const stream = (plan: StagePlan) => batches(plan).flat();

const everyPair = (files: StageOrder["files"]) =>
  files.flatMap(({ pairs }, index) =>
    [...pairs].flatMap((count, record) => Array.from({ length: count }, (_, pair) => `${index}:${record}:${pair}`)),
  );
const sorted = (names: readonly string[]) => [...names].sort();

describe("an epoch", () => {
  const files = [file([1, 3, 1, 2, 6, 1]), file(ones(11)), file([10])];

  test("holds each pair exactly once at weight 1, and the next one again, otherwise", () => {
    const plan = planOf({ files, length: { epochs: 3 } });
    expect([plan.pairsPerEpoch, plan.pairs, plan.steps]).toEqual([35, 105, 27]);
    const all = stream(plan);
    const epochs = [0, 35, 70].map((start) => all.slice(start, start + 35));
    for (const epoch of epochs) expect(sorted(epoch)).toEqual(sorted(everyPair(files)));
    expect(new Set(epochs.map((epoch) => epoch.join())).size).toBe(3);
  });

  test("keeps the pairs of a record together, in order", () => {
    const all = stream(planOf({ files }));
    for (const pair of everyPair(files)) {
      const [index, record, number] = pair.split(":");
      if (number !== "0") expect(all[all.indexOf(pair) - 1]).toBe(`${index}:${record}:${Number(number) - 1}`);
    }
  });

  test("mixes files: none stands in one block", () => {
    const all = stream(planOf({ files: [file(ones(50)), file(ones(50))] }));
    const changes = all.filter((name, index) => index > 0 && name[0] !== all[index - 1]?.[0]).length;
    expect(changes).toBeGreaterThan(30); // 50 on average, with a standard deviation of 5
  });

  test.each([
    [0.5, 2],
    [0.25, 4],
  ])("at weight %d holds a part; %i of them hold everything once", (weight, parts) => {
    const halved = [file(ones(40), weight), file(ones(8))];
    const size = 40 * weight + 8;
    const all = stream(planOf({ files: halved, length: { epochs: 2 * parts } }));
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
    expect(sorted(stream(planOf({ files: twice })))).toEqual(sorted([...everyPair(twice), ...everyPair(twice)]));
  });

  test("holds round(weight x pairs) of a file; over many epochs each pair as often as the others", () => {
    const uneven = [file([1, 4, 2], 0.4)]; // 2.8 pairs: 3
    const plan = planOf({ files: uneven, length: { epochs: 70 } });
    expect(plan.pairsPerEpoch).toBe(3);
    const counts = new Map<string, number>();
    for (const name of stream(plan)) counts.set(name, (counts.get(name) ?? 0) + 1);
    expect([...counts.values()]).toEqual(ones(7).map(() => 30));
  });
});

describe("batches", () => {
  test("run on over the end of an epoch; only the last one is smaller", () => {
    const plan = planOf({ files: [file(ones(10))], length: { epochs: 3 } });
    expect(batches(plan).map((batch) => batch.length)).toEqual([4, 4, 4, 4, 4, 4, 4, 2]);
  });

  test("are all full when their number is given, however long that takes", () => {
    const plan = planOf({ files: [file(ones(3))], length: { steps: 5 }, batchSize: 8 });
    expect([plan.steps, plan.pairs]).toEqual([5, 40]);
    expect(batches(plan).map((batch) => batch.length)).toEqual([8, 8, 8, 8, 8]);
    expect(sorted(stream(plan).slice(0, 39))).toEqual(sorted(ones(13).flatMap(() => everyPair([file(ones(3))]))));
  });

  test("share a record that does not fit into one, its pairs divided", () => {
    const plan = planOf({ files: [file([10])] });
    const entry = (pairs: number[]) => [{ file: 0, record: 0, pairs }];
    expect([1, 2, 3].map((step) => plan.batch(step))).toEqual([
      entry([0, 1, 2, 3]),
      entry([4, 5, 6, 7]),
      entry([8, 9]),
    ]);
  });

  test("half an epoch is half of its pairs", () => {
    expect(planOf({ files: [file(ones(10))], length: { epochs: 0.5 } }).pairs).toBe(5);
  });

  test.each([0, 4, 1.5, -1])("there is no step %d of 3", (step) => {
    expect(() => planOf({ files: [file(ones(10))] }).batch(step)).toThrow(RangeError);
  });
});

describe("the order is a function of seed, stage and step", () => {
  const files = [file([1, 3, 1, 2, 6, 1]), file(ones(30), 0.7)];
  const order = { files, length: { epochs: 5 } };

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
      const plan = planOf({ seed, stage: index, batchSize, files: described, length: { epochs } });
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
    const plan = planOf({ files: [file(ones(records))], batchSize, shuffle: false, length: { steps } });
    // train.py: records[(start + offset) % len(records)], start = step * batch
    const expected = Array.from({ length: steps }, (_, step) =>
      Array.from({ length: batchSize }, (_, offset) => `0:${(step * batchSize + offset) % records}:0`),
    );
    expect(batches(plan)).toEqual(expected);
  });

  test("files follow each other, and a half is followed by the other", () => {
    const plan = planOf({ files: [file(ones(4), 0.5), file([2, 1])], shuffle: false, length: { epochs: 2 } });
    expect(stream(plan).join(" ")).toBe("0:0:0 0:1:0 1:0:0 1:0:1 1:1:0 0:2:0 0:3:0 1:0:0 1:0:1 1:1:0");
  });
});

test("a file that gives nothing to an epoch is refused", () => {
  const refused = (files: StageOrder["files"], message: string) =>
    expect(() => planOf({ files })).toThrowError(
      expect.objectContaining({ code: "usage", message: expect.stringContaining(message) }),
    );
  refused([file([])], "take it out");
  refused([file(ones(3), 0.1)], "raise the weight");
  refused([], "at least one file");
});

test("a million records are put in order in seconds", () => {
  const plan = planOf({ files: [file(ones(1_000_000))], length: { epochs: 2 }, batchSize: 64 });
  const began = performance.now();
  const seen = new Uint8Array(1_000_000);
  for (let step = 1; step <= 15_625; step++)
    for (const { record } of plan.batch(step)) seen[record] = (seen[record] ?? 0) + 1;
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(seen.every((count) => count === 1)).toBe(true);
});
