import { getEventListeners } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { inOrder } from "./in-order.ts";

const never = new AbortController().signal;
const light = { weight: () => 0, maxWeight: 0 };

function deferred<Value>() {
  let resolve: (value: Value) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<Value>((one, other) => {
    [resolve, reject] = [one, other];
  });
  return { promise, resolve, reject };
}

/** Numbers from 0, with a record of how far they were read and whether the reader said that it is done. */
function counting(end: number) {
  const source = {
    read: 0,
    closed: false,
    async *[Symbol.asyncIterator]() {
      try {
        while (source.read < end) yield source.read++;
      } finally {
        source.closed = true;
      }
    },
  };
  return source;
}

async function collect<Value>(values: AsyncIterable<Value>): Promise<Value[]> {
  const all: Value[] = [];
  for await (const value of values) all.push(value);
  return all;
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < 50; turns++) await turn();
}

describe("inOrder", () => {
  test("yields in the order of the source, whatever order the work ends in", async () => {
    const works = Array.from({ length: 4 }, () => deferred<string>());
    const results = inOrder([0, 1, 2, 3], (index) => works[index]?.promise ?? Promise.reject(), {
      ahead: 4,
      ...light,
      signal: never,
    });
    const all = collect(results);
    for (const index of [2, 3, 1, 0]) {
      works[index]?.resolve(`result ${index}`);
      await settle();
    }
    expect(await all).toEqual(["result 0", "result 1", "result 2", "result 3"]);
  });

  test.each([1, 7])("reads at most %i ahead of what was taken, and in the background", async (ahead) => {
    const source = counting(100);
    const results = inOrder(source, async (item) => item, { ahead, ...light, signal: never });
    await settle();
    expect(source.read).toBe(0);
    for (let taken = 1; taken <= 100; taken++) {
      expect((await results.next()).value).toBe(taken - 1);
      await settle();
      expect(source.read).toBe(Math.min(100, taken + ahead));
    }
    expect((await results.next()).done).toBe(true);
  });

  test("a source that is slow does not hold back what is done", async () => {
    async function* slow() {
      yield 1;
      await new Promise(() => {});
    }
    const results = inOrder(slow(), async (item) => item, { ahead: 5, ...light, signal: never });
    expect((await results.next()).value).toBe(1);
    await results.return();
  });

  test("does not read on while what is under way is too heavy, but always one", async () => {
    const source = counting(20);
    const options = { ahead: 10, weight: (item: number) => (item === 5 ? 1000 : 10), maxWeight: 25, signal: never };
    const results = inOrder(source, async (item) => item, options);
    const ahead: number[] = [];
    for (let taken = 1; taken <= 20; taken++) {
      expect((await results.next()).value).toBe(taken - 1);
      await settle();
      ahead.push(source.read - taken);
    }
    // 10 + 10 + 10 is more than 25, and so is the heavy one alone, which comes with those read before it.
    expect(ahead.slice(0, 12)).toEqual([3, 3, 3, 2, 1, 3, 3, 3, 3, 3, 3, 3]);
  });

  test("rejects where the source or the work rejects, after the results before it, and lets the source go", async () => {
    async function* broken() {
      yield* [1, 2];
      throw new Error("source");
    }
    const fromSource = inOrder(broken(), async (item) => item, { ahead: 9, ...light, signal: never });
    expect((await fromSource.next()).value).toBe(1);
    expect((await fromSource.next()).value).toBe(2);
    await expect(fromSource.next()).rejects.toThrow("source");

    const source = counting(50);
    const work = async (item: number) => {
      if (item === 1) throw new Error("work");
      return item;
    };
    const fromWork = inOrder(source, work, { ahead: 9, ...light, signal: never });
    expect((await fromWork.next()).value).toBe(0);
    await expect(fromWork.next()).rejects.toThrow("work");
    expect(source.closed).toBe(true);
  });

  test.each(["the work", "the source"])("the signal ends it at once while %s hangs", async (who) => {
    const stop = new AbortController();
    async function* source() {
      yield 1;
      await new Promise(() => {});
    }
    const works: AbortSignal[] = [];
    const work = (item: number, signal: AbortSignal): Promise<number> => {
      works.push(signal);
      if (who === "the source") return Promise.resolve(item);
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    };
    const results = inOrder(source(), work, { ahead: 3, ...light, signal: stop.signal });
    if (who === "the source") await results.next();
    const next = results.next();
    await settle();
    stop.abort(new Error("enough"));
    await expect(next).rejects.toThrow("enough");
    expect(works.map(({ aborted }) => aborted)).toEqual([true]);
  });

  test("leaving the loop tells the source and the work, and reads no further", async () => {
    const source = counting(50);
    const signals: AbortSignal[] = [];
    const work = async (item: number, signal: AbortSignal) => {
      signals.push(signal);
      return item;
    };
    for await (const result of inOrder(source, work, { ahead: 4, ...light, signal: never })) {
      if (result === 2) break;
    }
    expect(source.closed).toBe(true);
    const { read } = source;
    await settle();
    expect(source.read).toBe(read);
    expect(signals.every(({ aborted }) => aborted)).toBe(true);
  });

  test("leaves no listener behind, however it ends", async () => {
    const [signal, ended] = [new AbortController().signal, new AbortController().signal];
    const over = AbortSignal.abort(new Error("over"));
    const options = { ahead: 4, ...light, signal, ended };
    const work = async (item: number) => item;
    await collect(inOrder([1, 2, 3], work, options));
    for await (const _ of inOrder(counting(50), work, options)) break;
    await expect(collect(inOrder([1], () => Promise.reject(new Error("work")), options))).rejects.toThrow("work");
    await expect(collect(inOrder([1], work, { ...options, ended: over }))).rejects.toThrow("over");
    const source: Iterable<number> = {
      [Symbol.iterator]: () => {
        throw new Error("source");
      },
    };
    await expect(collect(inOrder(source, work, options))).rejects.toThrow("source");
    expect([signal, ended].map((one) => getEventListeners(one, "abort"))).toEqual([[], []]);
  });
});
