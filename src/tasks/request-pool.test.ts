import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { RequestPool } from "./request-pool.ts";

/** A thread that answers numbers with their square, after `delay` milliseconds, and ends at a negative one. */
const program = `
  const { parentPort } = require("node:worker_threads");
  parentPort.on("message", ({ id, value, delay }) => {
    if (value < 0) process.exit(3);
    setTimeout(() => parentPort.postMessage({ id, square: value ** 2 }), delay);
  });
`;

const poolOf = (threads: number) =>
  new RequestPool<number>(
    threads,
    (pool) => {
      const worker = new Worker(program, { eval: true });
      worker.on("message", ({ id, square }: { id: number; square: number }) => pool.resolve(id, square));
      return worker;
    },
    () => new Error("a thread has ended"),
  );

test("every request gets its own answer, whichever comes first", async () => {
  const pool = poolOf(2);
  const values = [5, 1, 4, 2, 3];
  const answers = values.map((value) => pool.ask((id) => ({ id, value, delay: 10 * value })));
  expect(await Promise.all(answers)).toEqual(values.map((value) => value ** 2));
  await pool.close();
});

test("once a thread has ended, what is under way and what is asked later rejects instead of waiting for ever", async () => {
  const pool = poolOf(2);
  const slow = pool.ask((id) => ({ id, value: 1, delay: 60_000 }));
  const fatal = pool.ask((id) => ({ id, value: -1, delay: 0 }));
  await Promise.all([slow, fatal].map((answer) => expect(answer).rejects.toThrow("a thread has ended")));
  await expect(pool.ask((id) => ({ id, value: 1, delay: 0 }))).rejects.toThrow("a thread has ended");
  await pool.close();
});

test("what cannot be sent rejects, and does not count as under way", async () => {
  const pool = poolOf(2);
  const unsendable = Array.from({ length: 3 }, () => pool.ask((id) => ({ id, value: () => 1 })));
  for (const answer of unsendable) await expect(answer).rejects.toThrow(/could not be cloned/);
  const values = [2, 3];
  const slow = values.map((value) => pool.ask((id) => ({ id, value, delay: 0 })));
  expect(await Promise.all(slow)).toEqual([4, 9]);
  await pool.close();
});
