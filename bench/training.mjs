/**
 * @file `node bench/training.mjs`: how long a training step on pairs with a picture takes, what sharing the prompt gains, and
 * what memory it needs. README.md says how to read its table.
 */
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import Table from "cli-table3";
import { makeRandomCheckpoint } from "./random-checkpoint.mjs";
import { makePicturePairs } from "./workloads.mjs";

/** @typedef {import("./one-step.mjs").OneStep} OneStep */
/** @typedef {import("./one-step.mjs").StepResult} StepResult */
/** @typedef {{ seconds: number, loss: number, peakBytes: number }} ReferenceStep */

/** @type {typeof import("../src/tokenizer/tokenizer.ts")} */
const { Tokenizer } = await import(new URL("../dist/tokenizer/tokenizer.js", import.meta.url).href);
/** @type {typeof import("../src/torch/index.ts")} */
const { libtorchVersion, threadCount } = await import(new URL("../dist/torch/index.js", import.meta.url).href);

const run = promisify(execFile);
const at = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const workFolder = at("../build/bench/");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    photo: { type: "string" },
    pairs: { type: "string", default: "4" },
    rounds: { type: "string", default: "1" },
    reference: { type: "string" },
    "reference-script": { type: "string" },
  },
});
const pairs = Number(flags.pairs);
const folder = flags.model ?? join(workFolder, "model");
if (flags.model === undefined) makeRandomCheckpoint(folder);
mkdirSync(workFolder, { recursive: true });
const tokenizer = await Tokenizer.load(folder);
const countTokens = (/** @type {string} */ text) => tokenizer.encodeText(text).length;

/** @param {number} count -> a file of so many pairs */
function pairFile(count) {
  const file = join(workFolder, `pairs-${count}.jsonl`);
  const records = makePicturePairs({ countTokens, photo: flags.photo }, count);
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return file;
}

/** A budget that one pair fits in: the memory of a pass does not depend on how many there are. */
const tokenBudget = 2048;
/** @type {Record<string, OneStep>} */
const tasks = {
  shared: { folder, pairs: pairFile(pairs), sharing: true, checkpointing: false, tokenBudget, steps: 2 },
  alone: { folder, pairs: pairFile(pairs), sharing: false, checkpointing: false, tokenBudget, steps: 2 },
  "1 pair, checkpointing": { folder, pairs: pairFile(1), sharing: true, checkpointing: true, tokenBudget, steps: 2 },
  "8 pairs, checkpointing": { folder, pairs: pairFile(8), sharing: true, checkpointing: true, tokenBudget, steps: 2 },
};

console.log(
  `${cpus()[0]?.model ?? "unknown processor"}, ${availableParallelism()} processors, ${threadCount()} threads, ` +
    `libtorch ${libtorchVersion()}, float32; ${pairs} pairs a step, medians of ${flags.rounds} rounds in turns`,
);
const [busy = 0] = loadavg();
if (busy > 1) console.log(`The machine is busy (load ${busy.toFixed(1)}): these times are not to be trusted.`);

/** @type {Map<string, StepResult[]>} */
const measured = new Map(Object.keys(tasks).map((name) => [name, []]));
/** @type {Map<string, ReferenceStep[]>} */
const references = new Map();
for (let round = 0; round < Number(flags.rounds); round++) {
  for (const [name, task] of Object.entries(tasks)) {
    const { stdout } = await run(process.execPath, [at("one-step.mjs"), JSON.stringify(task)]);
    measured.get(name)?.push(JSON.parse(stdout));
  }
  if (flags.reference === undefined) continue;
  for (const [name, extra] of [
    ["reference", []],
    ["reference, no LM head", ["--no-lm-head"]],
  ]) {
    const all = references.get(String(name)) ?? [];
    references.set(String(name), [...all, await referenceStep(/** @type {string[]} */ (extra))]);
  }
}
printTable();

/**
 * One step of the reference on the same pairs: `PYTHON SCRIPT MODEL PAIRS --steps 1 --batch N` prints a JSON line with
 * its seconds and its loss.
 *
 * @param {string[]} extra
 * @returns {Promise<ReferenceStep>}
 */
async function referenceStep(extra) {
  const args = [flags["reference-script"] ?? "", folder, pairFile(pairs), "--steps", "1", "--batch", String(pairs)];
  const timed = ["-v", flags.reference ?? "", ...args, ...extra];
  const { stdout, stderr } = await run("/usr/bin/time", timed, { maxBuffer: 2 ** 26 });
  const kib = /Maximum resident set size \(kbytes\): (\d+)/.exec(stderr)?.[1];
  return { ...JSON.parse(stdout.split("\n")[0] ?? ""), peakBytes: Number(kib) * 1024 };
}

function printTable() {
  const head = ["step", "seconds", "memory", "loss"];
  const table = new Table({ head, style: { head: [], border: [] }, colAligns: ["left", "right", "right", "right"] });
  const secondsOf = (/** @type {string} */ name, /** @type {number} */ step) =>
    median((measured.get(name) ?? []).map(({ seconds }) => seconds[step] ?? Number.NaN));
  const row = (
    /** @type {string} */ name,
    /** @type {number} */ seconds,
    /** @type {number} */ bytes,
    loss = Number.NaN,
  ) => table.push([name, seconds.toFixed(1), `${(bytes / 1e9).toFixed(2)} GB`, loss.toFixed(6)]);
  for (const [name, results] of measured) {
    const peak = median(results.map(({ peakBytes }) => peakBytes));
    row(`${name}, new pictures`, secondsOf(name, 0), peak, results[0]?.losses[0]);
    row(`${name}, pictures known`, secondsOf(name, 1), peak, results[0]?.losses[1]);
  }
  for (const [name, results] of references) {
    const peak = median(results.map(({ peakBytes }) => peakBytes));
    row(name, median(results.map(({ seconds }) => seconds)), peak, results[0]?.loss);
  }
  console.log(table.toString());
  const gain = secondsOf("alone", 1) / secondsOf("shared", 1);
  console.log(`sharing the prompt: ${gain.toFixed(2)}x, pictures known in both`);
  const peaks = ["8 pairs, checkpointing", "1 pair, checkpointing"].map((name) =>
    median((measured.get(name) ?? []).map(({ peakBytes }) => peakBytes)),
  );
  console.log(`memory with checkpointing, 8 pairs against 1: ${((peaks[0] ?? 0) / (peaks[1] ?? 1)).toFixed(2)}x`);
  for (const [name, results] of references) {
    const ratio = median(results.map(({ seconds }) => seconds)) / secondsOf("shared", 0);
    console.log(`${name}: ${ratio.toFixed(2)}x our seconds, pictures new to both`);
  }
}

/** @param {readonly number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}
