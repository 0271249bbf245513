import { expect, it, vi } from "vitest";
import { KeptResults, type Success } from "./kept-results.ts";

const result = (reward: number): Success => ({
  answers: [[reward]],
  tokens: 1,
  places: [],
  seconds: { queue: 0, media: 0, compute: 0 },
});

it("gives what was kept, the one that was used longest ago makes room", () => {
  const kept = new KeptResults(1200, 60); // two of them
  kept.set("a", result(1));
  kept.set("b", result(2));
  expect(kept.get("a")).toEqual(result(1));
  kept.set("c", result(3));
  expect(["a", "b", "c"].map((key) => kept.get(key)?.answers[0]?.[0])).toEqual([1, undefined, 3]);
  expect(kept.size.results).toBe(2);
});

it("keeps nothing beyond its bytes, and counts what it holds", () => {
  const kept = new KeptResults(100, 60);
  kept.set("a", result(1));
  expect(kept.get("a")).toBeUndefined();
  expect(kept.size).toEqual({ results: 0, bytes: 0 });
});

it("forgets after a while, counted from the computation", () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  try {
    const kept = new KeptResults(10_000, 60);
    kept.set("a", result(1));
    vi.advanceTimersByTime(59_000);
    expect(kept.get("a")).toBeDefined();
    vi.advanceTimersByTime(2000);
    expect(kept.get("a")).toBeUndefined();
    expect(kept.size).toEqual({ results: 0, bytes: 0 });
  } finally {
    vi.useRealTimers();
  }
});
