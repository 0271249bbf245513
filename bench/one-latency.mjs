/**
 * @file How long pairs wait in one engine, in a process of its own so that nothing is cached from the run before. latency.mjs
 * starts it: `node one-latency.mjs TASK`, an OneLatency as JSON; what it measured goes to standard output as one line.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

/** @typedef {import("../src/engine/group.ts").AnswerGroup} Group */

/**
 * @typedef {object} OneLatency
 * @property {string} folder of the checkpoint
 * @property {string} library the engine's dist/index.js: of this version or of another
 * @property {Group[]} before scored first, not timed
 * @property {Group[]} alone pairs, one by one with nothing else
 * @property {Group[]} videos without company
 * @property {Group[]} others as many, with pairs behind them
 * @property {Group[]} pairs
 * @property {Group[]} queue pairs that are not urgent
 * @property {Group} urgent
 */

/**
 * Seconds.
 *
 * @typedef {object} LatencyResult
 * @property {number[]} alone
 * @property {number} videos from the first in to the last score out
 * @property {number[]} steps of these, each
 * @property {number} others the same with the pairs, to the last video's score
 * @property {number[]} pairs behind them
 * @property {number} queue from the first in to the last score out
 * @property {number[]} queueSteps of the queue, each
 * @property {number} urgent
 */

/** @type {OneLatency} */
const task = JSON.parse(process.argv[2] ?? "");
/** @type {typeof import("../src/index.ts")} */
const { RewardEngine } = await import(pathToFileURL(task.library).href);
const engine = await RewardEngine.open({ folder: task.folder, dtype: "float32", device: "cpu" });
for (const group of task.before) await secondsOf(group);

/** @type {number[]} */
const alone = [];
for (const group of task.alone) alone.push(await secondsOf(group));

const [videos, steps] = await stepsOf(() => timed(Promise.all(task.videos.map((group) => secondsOf(group)))));

const company = timed(Promise.all(task.others.map((group) => secondsOf(group))));
const gap = videos / (task.pairs.length + 1);
const waits = task.pairs.map(async (group, index) => {
  await sleep(1000 * gap * (index + 0.5));
  return secondsOf(group);
});
const [others, pairs] = await Promise.all([company, Promise.all(waits)]);

const [[queue, urgent], queueSteps] = await stepsOf(async () => {
  const low = timed(Promise.all(task.queue.map((group) => secondsOf(group))));
  await sleep(2000 * Math.min(...alone)); // they have been prepared, and the first pass of them has begun
  const high = await secondsOf(task.urgent, { priority: 1 });
  return [await low, high];
});
/** @type {LatencyResult} */
const result = { alone, videos, steps, others, pairs, queue, queueSteps, urgent };
console.log(JSON.stringify(result));
await engine.close();

/**
 * @param {Group} group
 * @param {{ priority?: number }} [options] an engine without priorities takes no notice
 */
async function secondsOf(group, options = {}) {
  return timed(
    engine.scoreGroup(group, options).then((scored) => {
      if ("error" in scored) throw scored.error;
    }),
  );
}

/** @param {Promise<unknown>} work */
async function timed(work) {
  const began = performance.now();
  await work;
  return (performance.now() - began) / 1000;
}

/**
 * The engine tells the seconds of its arithmetic after every step.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<[result: T, steps: number[]]>}
 */
async function stepsOf(work) {
  /** @type {number[]} */
  const found = [];
  let known = engine.stats.computeSeconds;
  const look = () => {
    const now = engine.stats.computeSeconds;
    if (now > known) found.push(now - known);
    known = now;
  };
  const timer = setInterval(look, 1);
  try {
    return [await work(), found];
  } finally {
    look();
    clearInterval(timer);
  }
}
