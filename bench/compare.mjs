/**
 * @file `node bench/compare.mjs`: this project against another implementation on the same records, in turns, on a machine that is
 * quiet. Where it is not, it says who is at work instead of measuring. README.md says how to run it and how to read its table.
 */
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import Table from "cli-table3";
import { bearable, lookOn, othersBusy, share, snapshot } from "./quiet.mjs";
import { makeRandomCheckpoint } from "./random-checkpoint.mjs";
import { makeWorkloads } from "./workloads.mjs";

/** @typedef {import("./one-run.mjs").RunResult} RunResult */
/** @typedef {import("./workloads.mjs").BenchRecord} BenchRecord */

/**
 * One turn of one side.
 *
 * @typedef {object} Turn
 * @property {number} seconds in the arithmetic
 * @property {number[]} scores
 * @property {number} others processors that others kept busy meanwhile
 */

/** @typedef {{ ours: Turn[], theirs: Turn[] }} Turns */

/** @type {typeof import("../src/tokenizer/tokenizer.ts")} */
const { Tokenizer } = await import(new URL("../dist/tokenizer/tokenizer.js", import.meta.url).href);
/** @type {typeof import("../src/torch/index.ts")} */
const { chooseDevice, libtorchVersion, threadCount } = await import(
  new URL("../dist/torch/index.js", import.meta.url).href
);

const run = promisify(execFile);
const at = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const workFolder = at("../build/bench/");
const noisy = 3; // exit code: measured, but not on a quiet machine

const { values: flags } = parseArgs({
  options: {
    reference: { type: "string", default: process.env.VL_REWARD_REFERENCE ?? "" },
    "reference-script": { type: "string", default: process.env.VL_REWARD_REFERENCE_SCRIPT ?? "" },
    model: { type: "string" },
    photo: { type: "string" },
    only: { type: "string", multiple: true, default: ["picture pair", "best-of-8", "text pair"] },
    rounds: { type: "string", default: "3" },
    dtype: { type: "string", default: "float32" },
    device: { type: "string", default: "auto" },
    watch: { type: "string", default: "5" },
    anyway: { type: "boolean", default: false },
    output: { type: "string" },
  },
});
const { reference, "reference-script": script } = flags;
if (reference === "" || script === "") {
  stop(
    "needs the other implementation: --reference PYTHON --reference-script FILE, or VL_REWARD_REFERENCE and " +
      "VL_REWARD_REFERENCE_SCRIPT in the environment",
  );
}
const rounds = Number(flags.rounds);
if (!(Number.isInteger(rounds) && rounds > 0)) stop(`--rounds ${flags.rounds}: expected a positive whole number`);
const device = chooseDevice(flags.device);

const before = await lookOn(Number(flags.watch));
if (before.busy > bearable) {
  const who = before.who.map((line) => `\n  ${line}`).join("");
  const found = `The machine is not quiet: ${share(before.busy)} are busy with other things.${who}`;
  if (!flags.anyway) stop(`${found}\nNothing was measured. Wait until they are done, or measure --anyway.`);
  console.log(found);
}

const folder = flags.model ?? join(workFolder, "model");
if (flags.model === undefined) makeRandomCheckpoint(folder);
mkdirSync(workFolder, { recursive: true });
const tokenizer = await Tokenizer.load(folder);
const all = makeWorkloads({ countTokens: (text) => tokenizer.encodeText(text).length, photo: flags.photo });
const names = all.filter(({ uncached }) => uncached === undefined).map(({ name }) => name);
const unknown = flags.only.find((name) => !names.includes(name));
if (unknown !== undefined) stop(`--only "${unknown}": expected one of ${names.join("; ")}`);

console.log(
  `${cpus()[0]?.model ?? "unknown processor"}, ${threadCount()} threads, libtorch ${libtorchVersion()} on ${device}, ` +
    `${flags.dtype}; ${rounds} rounds in turns: ours, theirs, ours, theirs; seconds in the arithmetic`,
);
/** @type {Map<string, Turns>} */
const measured = new Map();
for (const { name, before: warmUp, records } of all.filter(({ name }) => flags.only.includes(name))) {
  const [first, file] = [written("before", warmUp), written("records", records)];
  /** @type {Turns} */
  const turns = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round++) {
    turns.ours.push(await watched(() => ours(first, file)));
    turns.theirs.push(await watched(() => theirs(file)));
  }
  measured.set(name, turns);
}
report();

/**
 * @param {string} name
 * @param {readonly BenchRecord[]} records
 * @returns {string} their file
 */
function written(name, records) {
  const file = join(workFolder, `compare-${name}.jsonl`);
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return file;
}

/**
 * @param {() => Promise<{ seconds: number, scores: number[] }>} turn
 * @returns {Promise<Turn>}
 */
async function watched(turn) {
  const began = snapshot();
  const result = await turn();
  return { ...result, others: othersBusy(began, snapshot()) };
}

/**
 * @param {string} first scored before, not timed
 * @param {string} file
 */
async function ours(first, file) {
  const task = JSON.stringify({ folder, dtype: flags.dtype, device, before: first, records: file });
  const { stdout } = await run(process.execPath, [at("one-run.mjs"), task], { maxBuffer: 2 ** 26 });
  /** @type {RunResult} */
  const { forward, scores } = JSON.parse(stdout);
  return { seconds: forward, scores: scores.flat() };
}

/** The second of two passes counts: weights have been touched then, as ours have. @param {string} file */
async function theirs(file) {
  const args = [script, folder, file, "--dtype", flags.dtype, "--no-lm-head", "--repeat", "2"];
  const { stdout, stderr } = await run(reference, args, { maxBuffer: 2 ** 26 });
  /** @type {{ seconds: { forward: number }[] }} */
  const { seconds } = JSON.parse(stderr.trim().split("\n").at(-1) ?? "");
  /** @type {{ scores: number[] }[]} */
  const results = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  return { seconds: seconds.at(-1)?.forward ?? Number.NaN, scores: results.flatMap(({ scores }) => scores) };
}

function report() {
  const rows = [...measured].map(([name, { ours, theirs }]) => {
    const ratios = theirs.map(({ seconds }, round) => seconds / (ours[round]?.seconds ?? Number.NaN));
    const differences = (ours[0]?.scores ?? []).map((score, i) =>
      Math.abs(score - (theirs[0]?.scores[i] ?? Number.NaN)),
    );
    return {
      name,
      ours: spread(ours.map(({ seconds }) => seconds)),
      theirs: spread(theirs.map(({ seconds }) => seconds)),
      ratio: spread(ratios),
      difference: Math.max(...differences),
      others: Math.max(...[...ours, ...theirs].map(({ others }) => others)),
    };
  });
  const table = new Table({
    head: ["workload", "ours", "theirs", "ratio", "difference", "others"],
    style: { head: [] },
  });
  for (const { name, ours, theirs, ratio, difference, others } of rows) {
    const cells = [inWords(ours, "s"), inWords(theirs, "s"), inWords(ratio, "x")];
    table.push([name, ...cells, difference.toExponential(1), others.toFixed(2)]);
  }
  console.log(table.toString());
  const disturbed = rows.filter(({ others }) => others > bearable).map(({ name }) => name);
  if (flags.output !== undefined) {
    const turns = Object.fromEntries(measured);
    writeFileSync(
      flags.output,
      `${JSON.stringify({ quiet: disturbed.length === 0, workloads: rows, turns }, null, 2)}\n`,
    );
  }
  if (disturbed.length === 0 && before.busy <= bearable) return;
  console.log(
    `Not quiet (more than ${bearable} of a processor busy with other things): ${disturbed.join(", ") || "at the start"}.`,
  );
  console.log("These times are not to be trusted.");
  process.exitCode = noisy;
}

/** @typedef {{ median: number, least: number, most: number }} Spread */

/**
 * @param {readonly number[]} values
 * @returns {Spread}
 */
function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const median = ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
  return { median, least: sorted[0] ?? Number.NaN, most: sorted.at(-1) ?? Number.NaN };
}

/**
 * @param {Spread} spread
 * @param {string} unit
 */
function inWords({ median, least, most }, unit) {
  return `${median.toFixed(2)}${unit} (${least.toFixed(2)} to ${most.toFixed(2)})`;
}

/**
 * @param {string} message
 * @returns {never}
 */
function stop(message) {
  console.error(`compare: ${message}`);
  process.exit(2);
}
