/**
 * @file What a call of an operator costs on its way through TypeScript and the addon: at most 5 microseconds.
 *
 * The clock runs over the whole call: types checked and marshalled, dispatched, computed, the result wrapped and, at
 * the scope's end, freed. The operators are cheap ones on tiny tensors, so what is shown is the way plus a little of
 * the operator's own work: an upper bound of the way alone. It depends on how many arguments and results there are,
 * not on their size, hence the choice of operators.
 */
import Table from "cli-table3";

/** @type {typeof import("../src/torch/index.ts")} */
const torch = await import(new URL("../dist/torch/index.js", import.meta.url).href);
const { add, cat, detach, empty, narrow, noGrad, scope, setThreadCount, tensorFrom, view } = torch;

const limit = 5000; // ns
const callsInScope = 100;
const rounds = 400;

setThreadCount(1);
const x = tensorFrom(Float32Array.of(1, 2, 3, 4), [2, 2]);
const eight = Array(8).fill(x);

/** @type {[operator: string, what: string, call: () => unknown][]} */
const calls = [
  ["detach", "one tensor", () => detach(x)],
  ["view", "a tensor, a list of 1", () => view(x, [4])],
  ["narrow", "a tensor, three integers", () => narrow(x, 0, 0, 1)],
  ["add", "two tensors, a default", () => add(x, x)],
  ["cat", "a list of 8 tensors, a default", () => cat(eight)],
  ["empty", "a list, three strings, defaults", () => empty([2, 2], "float32", "strided", "cpu")],
];

/** @type {number[][]} */
const times = calls.map(() => []);
for (let round = -100; round < rounds; round++) {
  // In turns, so that a machine that slows down for a while slows all of them.
  for (const [i, [, , call]] of calls.entries()) {
    const begin = process.hrtime.bigint();
    noGrad(() =>
      scope(() => {
        for (let n = 0; n < callsInScope; n++) call();
      }),
    );
    const each = Number(process.hrtime.bigint() - begin) / callsInScope;
    if (round >= 0) times[i]?.push(each); // the rounds before warm up
  }
}

let worst = 0;
const rows = calls.map(([operator, what], i) => {
  const sorted = (times[i] ?? []).sort((a, b) => a - b);
  const at = (/** @type {number} */ part) => Math.round(sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN);
  worst = Math.max(worst, at(0.5));
  return [operator, what, `${at(0.5)}`, `${at(0.9)}`];
});
console.log(`ns per call, over the whole call: ${rounds} rounds of ${callsInScope} calls`);
const table = new Table({ head: ["operator", "arguments", "median", "90%"], style: { head: [], border: [] } });
table.push(...rows);
console.log(table.toString());
console.log(`The dearest median is ${worst} ns; the limit for a call is ${limit} ns.`);
process.exitCode = worst <= limit ? 0 : 1;
