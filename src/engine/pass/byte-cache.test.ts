/** @file Eviction, ownership and counts; random histories against a plain list. */
import { describe, expect, test } from "vitest";
import { liveTensors, type Tensor, tensorFrom } from "../../torch/index.ts";
import { ByteCache } from "./byte-cache.ts";

function withLog(capacity: number): { cache: ByteCache<string>; released: string[] } {
  const released: string[] = [];
  return { cache: new ByteCache<string>(capacity, (value) => released.push(value)), released };
}

describe("ByteCache", () => {
  test("evicts what was not used for longest, as many as the new entry needs", () => {
    const { cache, released } = withLog(100);
    cache.set("a", "A", 40);
    cache.set("b", "B", 30);
    cache.set("c", "C", 30);
    expect(cache.get("a")).toBe("A");
    cache.set("d", "D", 50); // b and c are older than a now
    expect(released).toEqual(["B", "C"]);
    expect([cache.get("a"), cache.get("b"), cache.get("c"), cache.get("d")]).toEqual(["A", undefined, undefined, "D"]);
    expect(cache.stats).toEqual({ hits: 3, misses: 2, entries: 2, bytes: 90 });
  });

  test("fills its capacity to the last byte", () => {
    const { cache, released } = withLog(100);
    cache.set("a", "A", 60);
    cache.set("b", "B", 40);
    expect(released).toEqual([]);
    cache.set("c", "C", 1);
    expect(released).toEqual(["A"]);
  });

  test("does not keep what is larger than itself, and evicts nothing for it", () => {
    const { cache, released } = withLog(100);
    cache.set("a", "A", 60);
    cache.set("b", "B", 101);
    expect(released).toEqual(["B"]);
    expect([cache.get("a"), cache.get("b")]).toEqual(["A", undefined]);
    cache.set("a", "A2", 101); // the old value is not what the key means any more
    expect(released).toEqual(["B", "A", "A2"]);
    expect(cache.stats).toMatchObject({ entries: 0, bytes: 0 });
  });

  test("keeps nothing in no bytes", () => {
    const { cache, released } = withLog(0);
    cache.set("a", "A", 1);
    expect(cache.get("a")).toBeUndefined();
    expect(released).toEqual(["A"]);
  });

  test("releases a replaced, a deleted and every cleared value once", () => {
    const { cache, released } = withLog(100);
    cache.set("a", "A", 60);
    cache.set("a", "A2", 50);
    cache.set("b", "B", 50);
    cache.set("c", "C", 50);
    expect(released).toEqual(["A", "A2"]);
    cache.delete("b");
    cache.delete("b");
    expect(released).toEqual(["A", "A2", "B"]);
    cache.clear();
    cache.clear();
    expect(released).toEqual(["A", "A2", "B", "C"]);
    expect(cache.stats).toEqual({ hits: 0, misses: 0, entries: 0, bytes: 0 });
    cache.set("a", "A3", 100);
    expect(cache.get("a")).toBe("A3");
  });

  test("releases what is lent when the last loan of it ends, and not before", () => {
    const { cache, released } = withLog(100);
    cache.set("a", "A", 60);
    const [first, second] = [cache.lend(), cache.lend()];
    expect(first.get("a")).toBe("A");
    expect(second.get("a")).toBe("A");
    cache.set("b", "B", 60); // evicts a
    expect(cache.get("a")).toBeUndefined();
    expect(released).toEqual([]);
    first.end();
    expect(released).toEqual([]);
    second.end();
    expect(released).toEqual(["A"]);
    const third = cache.lend();
    expect([third.get("b"), third.get("absent")]).toEqual(["B", undefined]);
    third.end();
    third.end();
    expect(released).toEqual(["A"]); // b is still kept
    cache.clear();
    expect(released).toEqual(["A", "B"]);
  });

  test("frees the memory of tensors that leave it, and of no other", () => {
    const before = liveTensors();
    const cache = new ByteCache<Tensor>(800, (tensor) => tensor.dispose());
    const first = tensorFrom(new Float32Array(100), [100]);
    cache.set("first", first, 400);
    cache.set("second", tensorFrom(new Float32Array(100), [100]), 400);
    expect(first.isDisposed).toBe(false);
    cache.set("third", tensorFrom(new Float32Array(100), [100]), 400);
    expect(first.isDisposed).toBe(true);
    expect(liveTensors().bytes - before.bytes).toBe(cache.stats.bytes);
    cache.clear();
    expect(liveTensors()).toEqual(before);
  });

  test.each([1, 2, 3])("does what a list searched from its end does: random history %i", (seed) => {
    let state = seed;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const { cache, released } = withLog(50);
    let list: { key: string; value: string; bytes: number }[] = []; // most recently used last
    const expected: string[] = [];
    const drop = (gone: (entry: (typeof list)[number]) => boolean) => {
      expected.push(...list.filter(gone).map(({ value }) => value));
      list = list.filter((entry) => !gone(entry));
    };
    for (let step = 0; step < 2000; step++) {
      const key = `key ${random(12)}`;
      const found = list.find((entry) => entry.key === key);
      if (random(3) === 0) {
        expect(cache.get(key)).toBe(found?.value);
        if (found) list = [...list.filter((entry) => entry !== found), found];
      } else if (random(8) === 0) {
        cache.delete(key);
        drop((entry) => entry === found);
      } else {
        const entry = { key, value: `value ${step}`, bytes: 1 + random(60) };
        cache.set(key, entry.value, entry.bytes);
        drop((other) => other === found);
        if (entry.bytes > 50) {
          expected.push(entry.value);
        } else {
          while (list.reduce((sum, { bytes }) => sum + bytes, entry.bytes) > 50) {
            const [oldest] = list;
            drop((other) => other === oldest);
          }
          list.push(entry);
        }
      }
      expect(released).toEqual(expected);
      const held = list.reduce((sum, { bytes }) => sum + bytes, 0);
      expect(cache.stats).toMatchObject({ entries: list.length, bytes: held });
    }
  });
});
