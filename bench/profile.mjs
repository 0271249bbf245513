/**
 * @file Where the time of one workload goes: a trace for chrome://tracing or ui.perfetto.dev, and its sums as tables. One
 * thread does everything here, so that preparing and computing lie one after the other; in the engine they overlap.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import Table from "cli-table3";
import { readGroups } from "./groups.mjs";

/** @typedef {import("../src/engine/group.ts").AnswerGroup} Group */

/** @type {typeof import("../src/torch/index.ts")} */
const { traced } = await import(new URL("../dist/torch/index.js", import.meta.url).href);
/** @type {typeof import("../src/models/families.ts")} */
const { familyOf } = await import(new URL("../dist/models/families.js", import.meta.url).href);
/** @type {typeof import("../src/engine/pass/pass.ts")} */
const { PassRunner } = await import(new URL("../dist/engine/pass/pass.js", import.meta.url).href);
/** @type {typeof import("../src/engine/threads/trace-file.ts")} */
const { beginTrace, endTrace, ThreadTrace } = await import(
  new URL("../dist/engine/threads/trace-file.js", import.meta.url).href
);

/** The spans that are told apart; operators count for the innermost of them. */
const phases = new Set(["prepare", "media", "fetch", "decode", "resize", "tokenizer", "pass", "vision", "decoder"]);

/**
 * @typedef {object} Call
 * @property {string} name
 * @property {string} phase the innermost that it lies in
 * @property {number} begin milliseconds
 * @property {number} end
 * @property {readonly (readonly number[])[]} shapes of the tensors that it was given
 */

/**
 * @param {import("./one-run.mjs").OneRun} task
 * @param {string} file
 */
export async function writeProfile(task, file) {
  const processor = await familyOf(task.folder).loadProcessor({ limits: {} });
  const scorer = PassRunner.load({ folder: task.folder, dtype: task.dtype, device: task.device });
  const prepare = (/** @type {Group} */ { prefix, branches, baseFolder }) =>
    processor.prepare(prefix, branches, { baseFolder });
  for (const group of readGroups(task.before)) scorer.score([await prepare(group)]);

  const descriptor = openSync(file, "w");
  const target = beginTrace(descriptor);
  const trace = new ThreadTrace(target, "bench");
  const before = process.resourceUsage();
  /** @type {Awaited<ReturnType<typeof prepare>>[]} */
  const prompts = [];
  for (const group of readGroups(task.records)) prompts.push(await traced("prepare", () => prepare(group)));
  traced("pass", () => scorer.score(prompts));
  const after = process.resourceUsage();
  trace.end();
  endTrace(target);
  closeSync(descriptor);
  scorer.dispose();

  const calls = readCalls(file);
  setPhases(calls);
  printPhases(calls);
  printOperators(calls);
  const kernel = (after.systemCPUTime - before.systemCPUTime) / 1e6;
  const faults = after.minorPageFault - before.minorPageFault;
  console.log(`in the kernel: ${kernel.toFixed(2)} s of all threads, ${faults.toLocaleString("en")} page faults`);
  console.log(`trace: ${file}`);
}

/** @param {string} file @returns {Call[]} */
function readCalls(file) {
  /** @type {{ name: string, ph: string, ts: number, dur: number, args: { shapes?: string[] } }[]} */
  const events = JSON.parse(readFileSync(file, "utf8"));
  return events
    .filter(({ ph }) => ph === "X")
    .map(({ name, ts, dur, args: { shapes = [] } }) => ({
      name,
      phase: "",
      begin: ts / 1000,
      end: (ts + dur) / 1000,
      shapes: shapes.map((shape) => (shape === "" ? [] : shape.split(" x ").map(Number))),
    }));
}

/** @param {Call[]} calls */
function setPhases(calls) {
  const spans = calls.filter(({ name }) => phases.has(name)).sort((a, b) => a.end - a.begin - (b.end - b.begin));
  for (const call of calls) {
    if (phases.has(call.name)) continue;
    call.phase = spans.find(({ begin, end }) => begin <= call.begin && call.end <= end)?.name ?? "";
  }
}

/** @param {readonly Call[]} calls */
function printPhases(calls) {
  const table = new Table({ head: ["phase", "seconds", "of them in operators"], style: { head: [], border: [] } });
  for (const phase of phases) {
    const spans = calls.filter(({ name }) => name === phase);
    if (spans.length === 0) continue;
    const inside = calls.filter((call) => call.phase === phase);
    table.push([phase, seconds(spans).toFixed(3), seconds(inside).toFixed(3)]);
  }
  console.log(table.toString());
}

/** @param {readonly Call[]} calls */
function printOperators(calls) {
  /** @type {Map<string, Call[]>} */
  const kinds = new Map();
  for (const call of calls) {
    if (phases.has(call.name)) continue;
    const key = JSON.stringify([call.phase, kindOf(call)]);
    kinds.set(key, [...(kinds.get(key) ?? []), call]);
  }
  const rows = [...kinds].map(([key, same]) => {
    const [phase, kind] = JSON.parse(key);
    const flop = same.reduce((sum, call) => sum + flopOf(call), 0);
    return { phase, kind, count: same.length, taken: seconds(same), flop };
  });
  const head = ["phase", "operator", "calls", "seconds", "GFLOP/s"];
  const table = new Table({ head, style: { head: [], border: [] } });
  for (const { phase, kind, count, taken, flop } of rows.sort((a, b) => b.taken - a.taken).slice(0, 30)) {
    table.push([phase, kind, count, taken.toFixed(3), flop > 0 ? (flop / taken / 1e9).toFixed(0) : ""]);
  }
  console.log(table.toString());
}

/** Matrix products are told apart by their weights. @param {Call} call */
function kindOf({ name, shapes: [, weight] }) {
  return name === "aten::linear" && weight ? `${name} ${weight.join(" x ")}` : name;
}

/** Of matrix products and of attention, whose masked pairs count too. @param {Call} call */
function flopOf({ name, shapes: [x = [], y = []] }) {
  const elements = x.reduce((product, length) => product * length, 1);
  if (name === "aten::linear") return 2 * elements * (y[0] ?? 0);
  if (name === "aten::scaled_dot_product_attention") return 4 * elements * (y[2] ?? 0); // [batch, heads, keys, width]
  return 0;
}

/** @param {readonly Call[]} calls */
function seconds(calls) {
  return calls.reduce((sum, { begin, end }) => sum + end - begin, 0) / 1000;
}
