import { describe, expect, test } from "vitest";
import { randomFrom } from "../../../test/random-groups.ts";
import { firstInTurn, inTurns, type RunningPass, schedule, type WaitingGroup } from "./schedule.ts";

const budget = { tokens: 1000, patches: 4000 };

const group = (id: number, more: Partial<WaitingGroup> = {}): WaitingGroup => ({
  id,
  tokens: 100,
  patches: 0,
  priority: 0,
  passedOver: 0,
  alone: false,
  ...more,
});
const long = (id: number, more: Partial<WaitingGroup> = {}): WaitingGroup => group(id, { tokens: 50_000, ...more });
const pass = (more: Partial<RunningPass> = {}): RunningPass => ({
  priority: 0,
  isShort: false,
  interruptions: 0,
  ...more,
});
const next = (waiting: readonly WaitingGroup[], running: readonly RunningPass[] = [], now = 0) =>
  schedule(waiting, running, budget, now);
const begun = (waiting: readonly WaitingGroup[], running: readonly RunningPass[] = []) => {
  const { turn } = next(waiting, running);
  return turn.kind === "begin" ? turn.ids : turn.kind;
};

describe("without a running pass", () => {
  test("nothing waits: rest", () => expect(begun([])).toBe("rest"));

  test("as many as fit one step, in the order of arrival", () => {
    const waiting = [group(0, { tokens: 400 }), group(1, { tokens: 500 }), group(2, { tokens: 200 }), group(3)];
    expect(begun(waiting)).toEqual([0, 1, 3]); // 2 does not fit and holds up nobody
    expect(begun([group(0), group(1, { patches: 3000 }), group(2, { patches: 3000 })])).toEqual([0, 1]);
  });

  test("one that exceeds a step goes alone; one that must be alone does too", () => {
    expect(begun([long(0), group(1)])).toEqual([0]);
    expect(begun([group(0, { alone: true }), group(1)])).toEqual([0]);
    expect(begun([group(0), group(1, { alone: true }), group(2)])).toEqual([0, 2]);
  });

  test("the more urgent come first", () => {
    expect(begun([group(0), group(1, { priority: 5 }), group(2, { priority: 1 })])).toEqual([1, 2, 0]);
  });
});

describe("clients", () => {
  test("take turns among groups of one priority, each in the order of its own", () => {
    const ofA = [0, 1, 2].map((id) => group(id, { client: "a" }));
    const ofB = [3, 4].map((id) => group(id, { client: "b" }));
    const urgent = group(5, { client: "a", priority: 1 });
    expect(begun([...ofA, ...ofB, urgent])).toEqual([5, 0, 3, 1, 4, 2]);
  });

  test("the first in turn is the first of all turns", () => {
    const random = randomFrom(1);
    for (let round = 0; round < 200; round++) {
      const waiting = Array.from({ length: 1 + random(20) }, (_, id) =>
        group(id, {
          client: ["a", "b", undefined][random(3)],
          priority: random(3),
          passedOver: random(12),
        }),
      );
      expect(firstInTurn(waiting)).toBe(inTurns(waiting)[0]);
      expect(inTurns(waiting).toSorted((a, b) => a.id - b.id)).toEqual(waiting);
    }
    expect(firstInTurn([])).toBeUndefined();
  });
});

describe("a pass that runs", () => {
  test("is interrupted by small groups of its own priority once a step", () => {
    expect(begun([group(7)], [pass()])).toEqual([7]);
    expect(begun([group(7)], [pass({ interruptions: 1 })])).toBe("go on");
  });

  test("is not interrupted by large ones of its own priority, nor by less urgent ones", () => {
    expect(begun([long(7)], [pass()])).toBe("go on");
    expect(begun([group(7, { priority: -1 })], [pass()])).toBe("go on");
  });

  test("is interrupted by more urgent ones, large or small, but makes a step now and then", () => {
    expect(begun([long(7, { priority: 1 })], [pass({ interruptions: 3 })])).toEqual([7]);
    expect(begun([group(7, { priority: 1 })], [pass({ isShort: true })])).toEqual([7]);
    expect(begun([group(7, { priority: 1 })], [pass({ interruptions: 8 })])).toBe("go on");
  });

  test("that is short goes on: its equals wait for it", () => {
    expect(begun([group(7)], [pass({ isShort: true })])).toBe("go on");
  });

  test("no more than four at once", () => {
    expect(begun([group(7, { priority: 9 })], [pass(), pass(), pass()])).toEqual([7]);
    expect(begun([group(7, { priority: 9 })], [pass(), pass(), pass(), pass()])).toBe("go on");
  });
});

test("a deadline that has come is told and takes no part", () => {
  const found = next([group(0, { deadline: 99 }), group(1, { deadline: 101 }), group(2)], [], 100);
  expect(found).toEqual({ expired: [0], turn: { kind: "begin", ids: [1, 2] } });
});

/** Plays a thread whose groups take `steps` steps -> the order in which they are done, and how many steps each waited. */
function played(arrivals: (step: number) => WaitingGroup[], steps: (id: number) => number, length: number) {
  const waiting: (WaitingGroup & { passedOver: number; came: number })[] = [];
  const stack: { ids: readonly number[]; left: number; state: RunningPass & { interruptions: number } }[] = [];
  const waited = new Map<number, number>();
  for (let step = 0; step < length; step++) {
    for (const one of arrivals(step)) waiting.push({ ...one, came: step });
    for (;;) {
      const { turn } = schedule(
        waiting,
        stack.map(({ state }) => state),
        budget,
        0,
      );
      if (turn.kind !== "begin") break;
      const below = stack.at(-1);
      if (below) below.state.interruptions++;
      const own = waiting.filter(({ id }) => turn.ids.includes(id));
      for (const one of own) {
        waiting.splice(waiting.indexOf(one), 1);
        waited.set(one.id, step - one.came);
      }
      const last = Math.max(...turn.ids);
      for (const one of waiting) if (one.id < last) one.passedOver++;
      const left = Math.max(...own.map(({ id }) => steps(id)));
      const priority = Math.max(...own.map((one) => one.priority));
      stack.push({ ids: turn.ids, left, state: { priority, isShort: left <= 1, interruptions: 0 } });
    }
    const top = stack.at(-1);
    if (!top) continue;
    top.state.interruptions = 0;
    top.left--;
    if (top.left === 0) stack.pop();
  }
  return { waited, left: waiting.map(({ id }) => id) };
}

describe("played over time", () => {
  test("a small group behind long ones waits for one step", () => {
    const videos = Array.from({ length: 5 }, (_, id) => long(id));
    const { waited } = played(
      (step) => (step === 0 ? videos : step === 7 ? [group(100)] : []),
      (id) => (id < 100 ? 20 : 1),
      200,
    );
    expect(waited.get(100)).toBeLessThanOrEqual(1);
    expect([0, 1, 2, 3, 4].map((id) => waited.has(id))).toEqual([true, true, true, true, true]);
  });

  test("a newcomer waits for a pass or two, not for the thousand groups of another, nor does an urgent one of the same", () => {
    const thousand = Array.from({ length: 1000 }, (_, id) => group(id, { tokens: 500, client: "a" }));
    const { waited, left } = played(
      (step) => {
        if (step === 0) return thousand;
        if (step >= 50 && step < 70) return [group(1000 + step, { tokens: 500, client: "b" })];
        return step === 90 ? [group(2000, { tokens: 500, client: "a", priority: 1 })] : [];
      },
      () => 1,
      200,
    );
    for (let id = 1050; id < 1070; id++) expect(waited.get(id)).toBeLessThanOrEqual(2);
    expect(waited.get(2000)).toBeLessThanOrEqual(2);
    expect(left).toHaveLength(1021 - 400); // every pass was full: two groups each
  });

  test("nobody starves: a long one among an endless stream of small ones, an unimportant one among important ones", () => {
    const small = played(
      (step) => (step === 3 ? [long(3), group(1003, { tokens: 900 })] : [group(1000 + step, { tokens: 900 })]),
      (id) => (id === 3 ? 10 : 1),
      200,
    );
    expect(small.waited.get(3)).toBeLessThan(20);
    const unimportant = played(
      (step) => [group(10 + step, { tokens: 900, priority: 5 }), ...(step === 0 ? [group(5, { tokens: 900 })] : [])],
      () => 1,
      100,
    );
    expect(unimportant.waited.get(5)).toBeLessThan(20);
  });
});
