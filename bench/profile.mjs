/**
 * @file Where the time of one workload goes: a trace for chrome://tracing or ui.perfetto.dev, and its sums as tables. One
 * thread does everything here, so that preparing and computing lie one after the other; in the engine they overlap.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import Table from "cli-table3";
import { readGroups } from "./groups.mjs";

/** @typedef {import("../src/reward/group.ts").Group} Group */

/** @type {typeof import("../src/torch/index.ts")} */
const { setTracer, Tensor, traced } = await import(new URL("../dist/torch/index.js", import.meta.url).href);
/** @type {typeof import("../src/checkpoint/checkpoint.ts")} */
const { readJson } = await import(new URL("../dist/checkpoint/checkpoint.js", import.meta.url).href);
/** @type {typeof import("../src/models/qwen2_5_vl/config.ts")} */
const { parseConfig } = await import(new URL("../dist/models/qwen2_5_vl/config.js", import.meta.url).href);
/** @type {typeof import("../src/models/qwen2_5_vl/processor.ts")} */
const { Processor } = await import(new URL("../dist/models/qwen2_5_vl/processor.js", import.meta.url).href);
/** @type {typeof import("../src/reward/scorer.ts")} */
const { Scorer } = await import(new URL("../dist/reward/scorer.js", import.meta.url).href);

/** The spans that the source names; what else a trace tells of is an operator. */
const phases = new Set(["prepare", "media", "tokenizer", "score", "vision", "decoder"]);

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
  const configFile = join(task.folder, "config.json");
  const processor = await Processor.load(task.folder, parseConfig(readJson(configFile), configFile), {});
  const scorer = Scorer.load({ folder: task.folder, dtype: task.dtype, device: task.device });
  const prepare = (/** @type {Group} */ { prefix, branches, baseFolder }) =>
    processor.prepare(prefix, branches, { baseFolder });
  for (const group of readGroups(task.before)) scorer.score([await prepare(group)]);

  /** @type {Call[]} */
  const calls = [];
  setTracer((name, begin, end, inputs) => {
    const shapes = inputs.filter((input) => input instanceof Tensor).map(({ shape }) => shape);
    calls.push({ name, phase: "", begin, end, shapes });
  });
  const before = process.resourceUsage();
  /** @type {Awaited<ReturnType<typeof prepare>>[]} */
  const prompts = [];
  for (const group of readGroups(task.records)) prompts.push(await traced("prepare", () => prepare(group)));
  traced("score", () => scorer.score(prompts));
  const after = process.resourceUsage();
  setTracer(undefined);
  scorer.dispose();
  setPhases(calls);
  writeFileSync(file, JSON.stringify(eventsOf(calls)));

  printPhases(calls);
  printOperators(calls);
  const kernel = (after.systemCPUTime - before.systemCPUTime) / 1e6;
  const faults = after.minorPageFault - before.minorPageFault;
  console.log(`in the kernel: ${kernel.toFixed(2)} s of all threads, ${faults.toLocaleString("en")} page faults`);
  console.log(`trace: ${file}`);
}

/** @param {Call[]} calls */
function setPhases(calls) {
  const spans = calls.filter(({ name }) => phases.has(name)).sort((a, b) => a.end - a.begin - (b.end - b.begin));
  for (const call of calls) {
    if (phases.has(call.name)) continue;
    call.phase = spans.find(({ begin, end }) => begin <= call.begin && call.end <= end)?.name ?? "";
  }
}

/**
 * Complete events of the trace event format; times in microseconds.
 *
 * @param {readonly Call[]} calls
 */
function eventsOf(calls) {
  const start = Math.min(...calls.map(({ begin }) => begin));
  return calls.map(({ name, phase, begin, end, shapes }) => ({
    name,
    cat: phases.has(name) ? "phase" : phase,
    ph: "X",
    ts: Math.round((begin - start) * 1000),
    dur: Math.round((end - begin) * 1000),
    pid: 1,
    tid: 1,
    args: { ...(shapes.length > 0 && { shapes: shapes.map((shape) => shape.join(" x ")) }) },
  }));
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
