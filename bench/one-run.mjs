/**
 * @file One run of one workload, in a process of its own so that nothing is cached and the peak of memory is its own.
 * run.mjs starts it: `node one-run.mjs TASK`, a OneRun as JSON; what it measured goes to standard output as one line.
 */
import { readGroups } from "./groups.mjs";

/**
 * @typedef {object} OneRun
 * @property {string} folder of the checkpoint
 * @property {"float32" | "bfloat16"} dtype
 * @property {string} device
 * @property {string} before a file of records that are scored first
 * @property {string} records a file of those that are timed
 */

/**
 * @typedef {object} RunResult
 * @property {number} wall seconds from the first group in to the last score out
 * @property {number} forward of them in the arithmetic
 * @property {number} peakBytes resident, mapped weights included
 * @property {(readonly number[])[]} scores
 */

/** @type {typeof import("../src/reward/engine.ts")} */
const { RewardEngine } = await import(new URL("../dist/reward/engine.js", import.meta.url).href);

/** @type {OneRun} */
const task = JSON.parse(process.argv[2] ?? "");
const engine = await RewardEngine.open({ folder: task.folder, dtype: task.dtype, device: task.device });
for (const group of readGroups(task.before)) await scoresOf([group]); // one by one: each finds what the last one left
const groups = readGroups(task.records);
const earlier = engine.stats.computeSeconds;
const began = performance.now();
const scores = await scoresOf(groups);
const wall = (performance.now() - began) / 1000;
/** @type {RunResult} */
const result = {
  wall,
  forward: engine.stats.computeSeconds - earlier,
  peakBytes: process.resourceUsage().maxRSS * 1024,
  scores,
};
console.log(JSON.stringify(result));
await engine.close();

/** @param {import("./groups.mjs").Group[]} groups */
async function scoresOf(groups) {
  const scores = [];
  for await (const result of engine.score(groups)) {
    if ("error" in result) throw result.error;
    scores.push(result.scores);
  }
  return scores;
}
