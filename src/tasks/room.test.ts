import { expect, test } from "vitest";
import { Room, type Stay } from "./room.ts";

/** Who has entered, in order. */
function guests(capacity: number) {
  const room = new Room(capacity);
  const entered: number[] = [];
  const ask = (order: number, bytes: number) => {
    const stay = room.book(order);
    stay.ask(bytes, () => void entered.push(order));
    return stay;
  };
  return { room, entered, ask };
}

test("as many enter as there is room for, the others as soon as it is given back", () => {
  const { room, entered, ask } = guests(100);
  const first = ask(0, 60);
  ask(1, 40);
  ask(2, 30);
  ask(3, 30);
  expect(entered).toEqual([0, 1]);
  first.leave();
  expect(entered).toEqual([0, 1, 2, 3]);
  expect(room.use).toEqual({ bytes: 100, peak: 100 });
});

test("what is larger than the room enters when it is the oldest, and nothing enters beside it", () => {
  const { entered, ask } = guests(100);
  const first = ask(0, 500);
  const second = ask(1, 1);
  expect(entered).toEqual([0]);
  first.leave();
  expect(entered).toEqual([0, 1]);
  const large = ask(2, 200);
  expect(entered).toEqual([0, 1]);
  second.leave();
  expect(entered).toEqual([0, 1, 2]);
  large.leave();
});

test("one that asks late but is older than all gets in: who takes results in order is never stuck", () => {
  const { room, entered, ask } = guests(100);
  ask(5, 100);
  ask(7, 10);
  expect(entered).toEqual([5]);
  const oldest = ask(3, 80);
  expect(entered).toEqual([5, 3]);
  ask(4, 80);
  expect(entered).toEqual([5, 3]); // 3 is older and inside
  oldest.leave();
  expect(entered).toEqual([5, 3, 4]);
  expect(room.use.peak).toBe(180); // at most one more than the room has
});

test("older ones that ask one after the other do not all get in: one beside the room, no more", () => {
  const { room, entered, ask } = guests(100);
  ask(9, 90);
  const stays = [8, 7, 6, 5].map((order) => ask(order, 90));
  expect(entered).toEqual([9, 8]);
  expect(room.use.bytes).toBe(180);
  stays[0]?.leave();
  expect(entered).toEqual([9, 8, 5]); // the oldest of those that wait
  stays[3]?.leave();
  expect(entered).toEqual([9, 8, 5, 6]);
  expect(room.use.peak).toBe(180);
});

test("one who shrinks makes room; one who leaves while waiting is forgotten", () => {
  const { room, entered, ask } = guests(100);
  const first = ask(0, 100);
  const second = ask(1, 50);
  ask(2, 50);
  first.shrink(40);
  expect(entered).toEqual([0, 1]);
  expect(room.use.bytes).toBe(90);
  first.shrink(70); // never grows
  expect(room.use.bytes).toBe(90);
  second.leave();
  second.leave();
  expect(entered).toEqual([0, 1, 2]);
  const waiting = ask(3, 90);
  waiting.leave();
  first.leave();
  expect(entered).toEqual([0, 1, 2]);
  expect(room.use.bytes).toBe(50);
});

test.each([1, 2, 3])(
  "the bound holds for a random history %i, whoever asks first: the room, and one guest beside it",
  (seed) => {
    let state = seed;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const room = new Room(100);
    const inside = new Map<number, { bytes: number; leave: () => void }>();
    let largest = 0;
    for (let turn = 0; turn < 2000; turn++) {
      const order = turn - random(40);
      const bytes = 1 + random(60);
      largest = Math.max(largest, bytes);
      const stay = room.book(order);
      stay.ask(bytes, () => inside.set(turn, { bytes, leave: () => stay.leave() }));
      const sum = [...inside.values()].reduce((total, guest) => total + guest.bytes, 0);
      expect(room.use.bytes).toBe(sum);
      expect(sum).toBeLessThanOrEqual(100 + largest);
      for (const [gone, guest] of [...inside]) {
        if (random(3) > 0) continue;
        inside.delete(gone);
        guest.leave();
      }
    }
    while (inside.size > 0) {
      for (const [gone, guest] of [...inside]) {
        inside.delete(gone);
        guest.leave();
      }
    }
    expect(room.use.bytes).toBe(0);
  },
);

test("who has booked before keeps the first place without having asked; nobody else enters a room that is full", () => {
  const { entered, room, ask } = guests(100);
  const first = room.book(0);
  ask(1, 100);
  ask(2, 80);
  expect(entered).toEqual([1]);
  first.ask(80, () => void entered.push(0));
  expect(entered).toEqual([1, 0]);
  first.leave();
  expect(entered).toEqual([1, 0]);
  expect(room.use).toEqual({ bytes: 100, peak: 180 });
});

test("what is larger than the room waits for those before it, even for one that has not asked", () => {
  const { entered, room, ask } = guests(100);
  const first = room.book(0);
  ask(1, 300);
  expect(entered).toEqual([]);
  first.leave();
  expect(entered).toEqual([1]);
});

test("who has given way holds its bytes still, and the next comes first", () => {
  const { entered, room, ask } = guests(100);
  const first = ask(0, 90);
  ask(1, 90);
  ask(2, 5);
  expect(entered).toEqual([0]);
  first.giveWay();
  expect(entered).toEqual([0, 1]);
  expect(room.use.bytes).toBe(180);
  first.leave();
  expect(entered).toEqual([0, 1, 2]);
  first.shrink(10);
  expect(room.use.bytes).toBe(95);
});

test.each([1, 2, 3])("taken in order, everything gets through in whatever order it asks (%i)", (seed) => {
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const room = new Room(100);
  const sizes = Array.from({ length: 500 }, () => 1 + random(150));
  const entered = new Set<number>();
  const stays: Stay[] = [];
  const silent: number[] = [];
  for (let taken = 0; taken < sizes.length; taken++) {
    while (stays.length < Math.min(taken + 16, sizes.length)) {
      silent.push(stays.length);
      stays.push(room.book(stays.length));
    }
    while (!entered.has(taken)) {
      const [order = -1] = silent.splice(random(silent.length), 1);
      stays[order]?.ask(sizes[order] ?? 0, () => entered.add(order));
    }
    stays[taken]?.leave();
  }
  expect(room.use.bytes).toBe(0);
  expect(room.use.peak).toBeLessThanOrEqual(2 * Math.max(...sizes));
});
