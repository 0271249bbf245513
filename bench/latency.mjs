/**
 * @file `node bench/latency.mjs`: how long a text pair waits behind a queue of long videos in the same engine, what such pairs cost
 * the videos, and how long an urgent pair waits among many others. README.md says how to read its table.
 *
 *     node bench/latency.mjs [--model DIR | --size small|middle] [--videos 3] [--frames 160] [--pairs 6] [--rounds 3]
 *                            [--against DIR]
 *
 * DIR behind --against is another version of this project, built: it takes turns with this one.
 */
import { execFile } from "node:child_process";
import { availableParallelism, cpus, loadavg } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import Table from "cli-table3";
import { makeRandomCheckpoint } from "./random-checkpoint.mjs";
import { makeLatencyGroups } from "./workloads.mjs";

/** @typedef {import("./one-latency.mjs").LatencyResult} LatencyResult */

/** @type {typeof import("../src/tokenizer/tokenizer.ts")} */
const { Tokenizer } = await import(new URL("../dist/tokenizer/tokenizer.js", import.meta.url).href);

const run = promisify(execFile);
const at = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    size: { type: "string", default: "middle" },
    videos: { type: "string", default: "3" },
    frames: { type: "string", default: "160" },
    pairs: { type: "string", default: "6" },
    rounds: { type: "string", default: "3" },
    against: { type: "string" },
  },
});
const size = flags.size === "small" ? "small" : "middle";
const folder = flags.model ?? at(size === "small" ? "../build/bench/small-model" : "../build/bench/model");
if (flags.model === undefined) makeRandomCheckpoint(folder, size);
const tokenizer = await Tokenizer.load(folder);
const groups = makeLatencyGroups((text) => tokenizer.encodeText(text).length, {
  videos: Number(flags.videos),
  frames: Number(flags.frames),
  pairs: Number(flags.pairs),
});

/** @type {Record<string, string>} */
const versions = { "this version": at("../dist/index.js") };
if (flags.against !== undefined)
  versions[`the one in ${flags.against}`] = join(resolve(flags.against), "dist/index.js");

console.log(
  `${cpus()[0]?.model ?? "unknown processor"}, ${availableParallelism()} processors, float32; ${flags.videos} videos of ` +
    `${flags.frames} frames and ${flags.pairs} pairs, medians of ${flags.rounds} rounds in turns`,
);
const [busy = 0] = loadavg();
if (busy > 1) console.log(`The machine is busy (load ${busy.toFixed(1)}): trust the ratios alone.`);

/** @type {Map<string, LatencyResult[]>} */
const measured = new Map(Object.keys(versions).map((name) => [name, []]));
for (let round = 0; round < Number(flags.rounds); round++) {
  const turn = Object.entries(versions);
  for (const [name, library] of round % 2 === 0 ? turn : turn.reverse()) {
    const { stdout } = await run(process.execPath, [
      at("one-latency.mjs"),
      JSON.stringify({ folder, library, ...groups }),
    ]);
    measured.get(name)?.push(JSON.parse(stdout));
  }
}
for (const [name, results] of measured) printTable(name, results);

/**
 * Ratios are those of one run each; what is printed is their median.
 *
 * @param {string} name
 * @param {readonly LatencyResult[]} results
 */
function printTable(name, results) {
  const of = (/** @type {(result: LatencyResult) => number} */ value) => median(results.map(value));
  const seconds = (/** @type {(result: LatencyResult) => number} */ value) => of(value).toFixed(3);
  const times = (/** @type {(result: LatencyResult) => number} */ value) => `${of(value).toFixed(2)}x`;
  const table = new Table({
    head: [name, "seconds", "of a pair alone", "of the longest step"],
    style: { head: [], border: [] },
    colAligns: ["left", "right", "right", "right"],
  });
  /** @param {string} what @param {(result: LatencyResult) => number} value @param {(result: LatencyResult) => number[]} steps */
  const row = (what, value, steps) =>
    table.push([
      what,
      seconds(value),
      times((result) => value(result) / median(result.alone)),
      times((result) => value(result) / Math.max(...steps(result))),
    ]);
  row(
    "a pair alone",
    ({ alone }) => median(alone),
    ({ steps }) => steps,
  );
  row(
    "behind the videos, median",
    ({ pairs }) => median(pairs),
    ({ steps }) => steps,
  );
  row(
    "behind the videos, longest",
    ({ pairs }) => Math.max(...pairs),
    ({ steps }) => steps,
  );
  row(
    "all videos",
    ({ videos }) => videos,
    ({ steps }) => steps,
  );
  row(
    "a queue of pairs",
    ({ queue }) => queue,
    ({ queueSteps }) => queueSteps,
  );
  row(
    "an urgent one among them",
    ({ urgent }) => urgent,
    ({ queueSteps }) => queueSteps,
  );
  console.log(table.toString());
  const slower = times(({ videos, others }) => others / videos);
  const added = times(({ alone, pairs, videos }) => (videos + pairs.length * median(alone)) / videos);
  console.log(`videos with pairs between them: ${slower} the time without; the pairs' own time makes ${added} of it`);
  console.log(`${of(({ steps }) => steps.length)} steps, the longest ${seconds(({ steps }) => Math.max(...steps))} s`);
}

/** @param {readonly number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}
