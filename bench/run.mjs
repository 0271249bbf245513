/**
 * @file `npm run bench`: how long the engine takes for typical work, and how near that is to what the machine can do.
 * README.md says how to run it and how to read its table.
 */
import { execFile, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import Table from "cli-table3";
import { readGroups } from "./groups.mjs";
import { matmulSpeed } from "./matmul-speed.mjs";
import { neededWork } from "./needed-work.mjs";
import { writeProfile } from "./profile.mjs";
import { makeRandomCheckpoint } from "./random-checkpoint.mjs";
import { makeWorkloads } from "./workloads.mjs";

/** @typedef {import("./workloads.mjs").Workload} Workload */
/** @typedef {import("./one-run.mjs").RunResult} RunResult */
/** @typedef {{ forward: number, scores: (readonly number[])[] }} ReferenceResult */

/**
 * A workload as it is measured.
 *
 * @typedef {object} Measured
 * @property {Workload} workload
 * @property {string} beforeFile
 * @property {string} file
 * @property {number} tokens
 * @property {number} flop
 * @property {(RunResult & { speed: number })[]} runs with the speed of a matmul around each
 * @property {ReferenceResult[]} references
 */

/** @type {typeof import("../src/torch/index.ts")} */
const { chooseDevice, libtorchVersion, threadCount } = await import(
  new URL("../dist/torch/index.js", import.meta.url).href
);
/** @type {typeof import("../src/files/json.ts")} */
const { readJson } = await import(new URL("../dist/files/json.js", import.meta.url).href);
/** @type {typeof import("../src/models/qwen2_5_vl/config.ts")} */
const { parseConfig } = await import(new URL("../dist/models/qwen2_5_vl/config.js", import.meta.url).href);
/** @type {typeof import("../src/models/families.ts")} */
const { familyOf } = await import(new URL("../dist/models/families.js", import.meta.url).href);
/** @type {typeof import("../src/tokenizer/tokenizer.ts")} */
const { Tokenizer } = await import(new URL("../dist/tokenizer/tokenizer.js", import.meta.url).href);

const run = promisify(execFile);
const at = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const workFolder = at("../build/bench/");
const coldStart = "cold start, embedded model";
const busy = 1; // load average above which times are not to be trusted

const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    photo: { type: "string" },
    runs: { type: "string", default: "3" },
    only: { type: "string", multiple: true },
    dtype: { type: "string", default: "float32" },
    device: { type: "string", default: "auto" },
    reference: { type: "string" },
    "reference-script": { type: "string" },
    profile: { type: "string" },
  },
});
const runs = Number(flags.runs);
if (!(Number.isInteger(runs) && runs > 0)) throw new Error(`--runs ${flags.runs}: expected a positive whole number`);
if ((flags.reference === undefined) !== (flags["reference-script"] === undefined)) {
  throw new Error("--reference PYTHON and --reference-script FILE come together");
}
const dtype = readDtype(flags.dtype);
const device = chooseDevice(flags.device);
const folder = flags.model ?? join(workFolder, "model");
if (flags.model === undefined) makeRandomCheckpoint(folder);

const workloads = await prepared();
if (flags.profile === undefined) await measure();
else await profile(flags.profile);

/** The workloads that were asked for, written down, and the work that they need. */
async function prepared() {
  const configFile = join(folder, "config.json");
  const config = parseConfig(readJson(configFile), configFile);
  const tokenizer = await Tokenizer.load(folder);
  const processor = await familyOf(folder).loadProcessor({ limits: {} });
  const prompts = async (/** @type {string} */ file) =>
    Promise.all(readGroups(file).map(({ prefix, branches, ...rest }) => processor.prepare(prefix, branches, rest)));
  const all = makeWorkloads({ countTokens: (text) => tokenizer.encodeText(text).length, photo: flags.photo });
  const names = [...all.map(({ name }) => name), coldStart];
  const unknown = flags.only?.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`--only "${unknown}": expected one of ${names.join("; ")}`);
  mkdirSync(workFolder, { recursive: true });
  /** @type {Measured[]} */
  const measured = [];
  for (const [index, workload] of all.entries()) {
    if (!isWanted(workload.name)) continue;
    const [beforeFile, file] = [join(workFolder, `before-${index}.jsonl`), join(workFolder, `records-${index}.jsonl`)];
    writeRecords(beforeFile, workload.before);
    writeRecords(file, workload.records);
    const needed = neededWork(config, await prompts(beforeFile), await prompts(file));
    measured.push({ workload, beforeFile, file, ...needed, runs: [], references: [] });
  }
  return measured;
}

/** @param {string} name */
function readDtype(name) {
  if (name === "float32" || name === "bfloat16") return name;
  throw new Error(`--dtype ${name}: expected float32 or bfloat16`);
}

/** @param {string} name */
function isWanted(name) {
  return flags.only === undefined || flags.only.includes(name);
}

/**
 * @param {string} file
 * @param {readonly unknown[]} records
 */
function writeRecords(file, records) {
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
}

/** @param {string} file */
async function profile(file) {
  const [first, ...others] = workloads;
  if (!first || (others.length > 0 && flags.only !== undefined)) {
    throw new Error("--profile shows one workload; choose it with --only");
  }
  const { beforeFile, file: records } = first;
  await writeProfile({ folder, dtype, device, before: beforeFile, records }, file);
}

async function measure() {
  const [load = 0] = loadavg();
  console.log(
    `${cpus()[0]?.model ?? "unknown processor"}, ${availableParallelism()} processors, ${threadCount()} threads, ` +
      `libtorch ${libtorchVersion()} on ${device}, ${dtype}; medians of ${runs} runs in turns`,
  );
  if (load > busy) console.log(`The machine is busy (load ${load.toFixed(1)}): these times are not to be trusted.`);
  const speeds = [matmulSpeed(dtype, device)];
  /** @type {{ seconds: number, peakBytes: number | undefined }[]} */
  const starts = [];
  // In turns, so that a machine that slows down for a while slows all of them.
  for (let round = 0; round < runs; round++) {
    for (const measured of workloads) {
      const { workload, beforeFile: before, file: records, runs: done, references } = measured;
      const task = JSON.stringify({ folder, dtype, device, before, records });
      const { stdout } = await run(process.execPath, [at("one-run.mjs"), task], { maxBuffer: 2 ** 26 });
      const speed = matmulSpeed(dtype, device);
      done.push({ ...JSON.parse(stdout), speed: (speed + (speeds.at(-1) ?? speed)) / 2 });
      speeds.push(speed);
      if (flags.reference !== undefined && workload.uncached === undefined) references.push(await reference(records));
    }
    if (isWanted(coldStart)) starts.push(await startCold());
  }
  const [slowest, middle, fastest] = [Math.min(...speeds), median(speeds), Math.max(...speeds)].map(
    (speed) => `${(speed / 1e9).toFixed(0)}`,
  );
  console.log(`matmul: ${middle} GFLOP/s (${slowest} to ${fastest})`);
  printTable(starts);
  printRatios();
}

/**
 * Runs the reference over the same records once. It says on standard error what its passes took.
 *
 * @param {string} file
 * @returns {Promise<ReferenceResult>}
 */
async function reference(file) {
  const args = [flags["reference-script"] ?? "", folder, file, "--dtype", dtype, "--no-lm-head", "--repeat", "1"];
  const { stdout, stderr } = await run(flags.reference ?? "", args, { maxBuffer: 2 ** 26 });
  const lines = stderr.trim().split("\n");
  /** @type {{ seconds: { forward: number }[] }} */
  const { seconds } = JSON.parse(lines.at(-1) ?? "");
  const scores = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).scores);
  return { forward: seconds.at(-1)?.forward ?? Number.NaN, scores };
}

/** -> seconds from the start of the command to its first line, and the process's peak of memory where /proc tells it */
async function startCold() {
  const file = join(workFolder, "cold.jsonl");
  const record = { messages: [{ role: "user", content: "What is 2 + 2?" }], responses: ["4", "5"] };
  writeFileSync(file, `${JSON.stringify(record)}\n`);
  const began = performance.now();
  const child = spawn(process.execPath, [at("../bin/vl-reward.mjs"), "score", file, "--device", device], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (text) => {
    said += text;
  });
  /** @type {number | undefined} */
  let seconds;
  /** @type {number | undefined} */
  let peakBytes;
  for await (const _ of child.stdout) {
    seconds ??= (performance.now() - began) / 1000;
    peakBytes ??= peakOf(child.pid);
  }
  if (seconds === undefined) throw new Error(`vl-reward score gave no score: ${said}`);
  return { seconds, peakBytes };
}

/** @param {number | undefined} pid */
function peakOf(pid) {
  try {
    const kib = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch {
    return undefined; // not Linux, or it has just ended
  }
}

/** @param {readonly { seconds: number, peakBytes: number | undefined }[]} starts */
function printTable(starts) {
  const compared = flags.reference !== undefined;
  const head = ["workload", "tokens", "TFLOP", "seconds", "forward", "of peak", "memory"];
  if (compared) head.push("reference", "ratio", "difference");
  const table = new Table({
    head,
    style: { head: [], border: [] },
    colAligns: head.map((_, i) => (i ? "right" : "left")),
  });
  for (const measured of workloads) {
    const { workload, tokens, flop, runs: done } = measured;
    const forward = forwardOf(measured);
    const row = [
      workload.name,
      tokens.toLocaleString("en"),
      (flop / 1e12).toFixed(3),
      median(done.map(({ wall }) => wall)).toFixed(2),
      forward.toFixed(2),
      `${(100 * median(done.map((one) => flop / one.forward / one.speed))).toFixed(0)}%`,
      gigabytes(median(done.map(({ peakBytes }) => peakBytes))),
    ];
    if (compared) row.push(...referenceCells(measured, forward));
    table.push(row);
  }
  if (starts.length > 0) {
    const peaks = starts.map(({ peakBytes }) => peakBytes).filter((bytes) => bytes !== undefined);
    const seconds = median(starts.map(({ seconds }) => seconds)).toFixed(2);
    const row = [coldStart, "", "", seconds, "", "", peaks.length > 0 ? gigabytes(median(peaks)) : ""];
    table.push([...row, ...(compared ? ["", "", ""] : [])]);
  }
  console.log(table.toString());
}

/**
 * The reference has no cache: what it takes for a cached prompt is what it takes for the same one uncached.
 *
 * @param {Measured} measured
 * @param {number} forward
 */
function referenceCells({ workload, runs: done, references }, forward) {
  const twin = workloads.find(({ workload: { name } }) => name === workload.uncached);
  const [results, ours] = twin ? [twin.references, twin.runs] : [references, done];
  if (results.length === 0) return ["", "", ""];
  const seconds = median(results.map((result) => result.forward));
  const theirs = results[0]?.scores.flat() ?? [];
  const differences = (ours[0]?.scores.flat() ?? []).map((score, i) => Math.abs(score - (theirs[i] ?? Number.NaN)));
  return [seconds.toFixed(2), `${(seconds / forward).toFixed(2)}x`, Math.max(...differences).toExponential(1)];
}

function printRatios() {
  for (const measured of workloads) {
    const twin = workloads.find(({ workload: { name } }) => name === measured.workload.uncached);
    if (!twin) continue;
    const [ratio, counted] = [forwardOf(twin) / forwardOf(measured), twin.flop / measured.flop];
    console.log(
      `${measured.workload.name}: ${ratio.toFixed(2)}x as fast as uncached, ${((100 * ratio) / counted).toFixed(0)}% of ` +
        `the ${counted.toFixed(2)}x that the counted work allows`,
    );
  }
  const memoryOf = (/** @type {string} */ wanted) => {
    const found = workloads.find(({ workload: { name } }) => name === wanted);
    return found && median(found.runs.map(({ peakBytes }) => peakBytes));
  };
  const [mixed, largest] = [memoryOf("64 mixed"), memoryOf("picture pair")];
  if (mixed && largest) console.log(`64 mixed: ${(mixed / largest).toFixed(2)}x the memory of the largest group alone`);
}

/** @param {Measured} measured */
function forwardOf({ runs: done }) {
  return median(done.map(({ forward }) => forward));
}

/** @param {readonly number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}

/** @param {number} bytes */
function gigabytes(bytes) {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
