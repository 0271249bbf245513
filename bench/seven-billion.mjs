/**
 * @file What a checkpoint of the published 7B's shape takes: it is loaded, scores one short pair of answers in float32
 * from its bfloat16 weights, and peaks at no more than 16.5 GB of resident memory, of which 2 GB are not file pages.
 *
 *     node bench/seven-billion.mjs QWEN FOLDER [--dtype float32|bfloat16] [--keep]
 *
 * QWEN holds config.json and the tokenizer's files of Qwen2.5-VL-7B-Instruct. FOLDER is made, filled with 15.5 GB of
 * random weights in pieces of 16 MB, and removed at the end; with --keep it stays and the next run uses it as it is.
 * Linux only: memory is read from /proc.
 */
import { spawn } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import {
  closeSync,
  copyFileSync,
  existsSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Table from "cli-table3";

/** @type {typeof import("../src/models/qwen2_5_vl/config.ts")} */
const { parseConfig } = await import(new URL("../dist/models/qwen2_5_vl/config.js", import.meta.url).href);
/** @type {typeof import("../src/models/qwen2_5_vl/model.ts")} */
const { Qwen25VL } = await import(new URL("../dist/models/qwen2_5_vl/model.js", import.meta.url).href);

const limits = { resident: 16.5e9, anonymous: 2e9 }; // bytes
const shardBytes = 4e9;
const piece = new Uint32Array(2 ** 22); // two weights an element

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { dtype: { type: "string", default: "float32" }, keep: { type: "boolean", default: false } },
});
const [qwen, folder] = positionals;
if (qwen === undefined || folder === undefined) throw new Error("expected two folders: QWEN FOLDER");

if (!existsSync(join(folder, "config.json"))) makeCheckpoint(qwen, folder);
try {
  await measure(folder);
} finally {
  if (!flags.keep) rmSync(folder, { recursive: true });
}

/**
 * @param {string} source
 * @param {string} target
 */
function makeCheckpoint(source, target) {
  const began = performance.now();
  mkdirSync(target, { recursive: true });
  const config = join(source, "config.json");
  const model = new Qwen25VL(parseConfig(JSON.parse(readFileSync(config, "utf8")), config));
  const tensors = [...model.namedParameters()].map(([name, { shape }]) => ({ name, shape }));

  /** @type {(typeof tensors)[]} */
  const shards = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    if (filled > shardBytes) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)?.push(tensor);
    filled += 2 * elements(tensor.shape);
  }
  /** @type {Record<string, string>} */
  const places = {};
  let total = 0;
  for (const [index, shard] of shards.entries()) {
    const name = `model-${`${index + 1}`.padStart(5, "0")}-of-${`${shards.length}`.padStart(5, "0")}.safetensors`;
    total += writeShard(join(target, name), shard);
    for (const tensor of shard) places[tensor.name] = name;
  }
  const head = [{ name: "v_head.summary.weight", shape: [1, model.model.norm.weight.shape[0] ?? 0] }];
  writeShard(join(target, "value_head.safetensors"), head);
  writeFileSync(join(target, "model.safetensors.index.json"), JSON.stringify({ weight_map: places }));
  for (const name of readdirSync(source)) {
    if (!/safetensors|^config\.json$/.test(name)) copyFileSync(join(source, name), join(target, name));
  }
  copyFileSync(config, join(target, "config.json")); // last: it says that the folder is whole
  console.log(`made ${gigabytes(total)} GB of weights in ${((performance.now() - began) / 1000).toFixed(0)} s`);
}

/**
 * @param {string} file
 * @param {readonly { name: string, shape: readonly number[] }[]} tensors
 */
function writeShard(file, tensors) {
  /** @type {Record<string, { dtype: string, shape: readonly number[], data_offsets: number[] }>} */
  const header = {};
  let end = 0;
  for (const { name, shape } of tensors) {
    const begin = end;
    end += 2 * elements(shape);
    header[name] = { dtype: "BF16", shape, data_offsets: [begin, end] };
  }
  // Padded to a multiple of 8 as the published files are: tensors at odd addresses would have to be copied.
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(8 * Math.ceil(json.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const fd = openSync(file, "w");
  writeSync(fd, length);
  writeSync(fd, text);
  for (const { name, shape } of tensors) writeRandom(fd, name, shape);
  fdatasyncSync(fd); // pages that wait to be written are no part of the measurement
  closeSync(fd);
  return end;
}

/**
 * Writes a tensor of random bfloat16 values: norms between 1/2 and 2; matrices with either sign and a magnitude around
 * one over the root of their inputs, so that the hidden states stay in range.
 *
 * @param {number} fd
 * @param {string} name
 * @param {readonly number[]} shape
 */
function writeRandom(fd, name, shape) {
  const isNorm = shape.length === 1 && name.endsWith(".weight");
  const inputs = shape.length > 1 ? elements(shape.slice(1)) : 256;
  // The exponent's lowest bit is random, the others are fixed. Each constant below stands for two weights.
  const exponent = isNorm ? 126 : 2 * Math.round((127 - Math.log2(inputs) / 2 - 0.5) / 2);
  const [mask, fixed] = [isNorm ? 0x00ff_00ff : 0x80ff_80ff, (exponent << 7) * 0x1_0001];
  for (let bytes = 2 * elements(shape); bytes > 0; ) {
    const size = Math.min(bytes, piece.byteLength);
    const part = piece.subarray(0, Math.ceil(size / 4));
    randomFillSync(part);
    for (let i = 0; i < part.length; i++) part[i] = ((part[i] ?? 0) & mask) | fixed;
    for (let done = 0; done < size; ) done += writeSync(fd, piece, done, size - done);
    bytes -= size;
  }
}

/** @param {string} model */
async function measure(model) {
  const command = fileURLToPath(new URL("../bin/vl-reward.mjs", import.meta.url));
  const record = {
    messages: [{ role: "user", content: "Which planet is the largest of the solar system?" }],
    chosen: "Jupiter. It has more than twice the mass of all the other planets together.",
    rejected: "The Sun is the largest planet.",
  };
  const stats = join(model, "stats.json");
  const child = spawn(
    process.execPath,
    [command, "score", "-", "--model", model, "--dtype", flags.dtype, "--device", "cpu", "--stats", stats],
    { stdio: ["pipe", "inherit", "inherit"] },
  );
  const exited = once(child, "exit");
  child.stdin.end(`${JSON.stringify(record)}\n`);

  // VmHWM is the system's own peak of the sum; of the parts it keeps no peak, so they are sampled.
  const peak = { VmHWM: 0, RssAnon: 0, RssFile: 0 };
  while (child.exitCode === null && child.signalCode === null) {
    for (const [, name, kib] of readStatus(child.pid).matchAll(/^(VmHWM|RssAnon|RssFile):\s+(\d+) kB/gm)) {
      const key = /** @type {keyof typeof peak} */ (name);
      peak[key] = Math.max(peak[key], Number(kib) * 1024);
    }
    await sleep(20);
  }
  const [code] = await exited;
  if (code !== 0) throw new Error(`vl-reward score ended with code ${code}`);

  /** @type {{ seconds: { load: number, compute: number, total: number } }} */
  const { seconds } = JSON.parse(readFileSync(stats, "utf8"));
  const holds = peak.VmHWM <= limits.resident && peak.RssAnon <= limits.anonymous;
  const table = new Table({ head: ["peak of", "GB", "limit"], style: { head: [], border: [] } });
  table.push(
    ["resident memory", gigabytes(peak.VmHWM), gigabytes(limits.resident)],
    ["of it anonymous", gigabytes(peak.RssAnon), gigabytes(limits.anonymous)],
    ["of it file pages", gigabytes(peak.RssFile), ""],
  );
  console.log(`${flags.dtype}: load ${seconds.load} s, compute ${seconds.compute} s, in all ${seconds.total} s`);
  console.log(table.toString());
  process.exitCode = holds ? 0 : 1;
}

/** @param {number | undefined} pid */
function readStatus(pid) {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return ""; // it has just ended
  }
}

/** @param {readonly number[]} shape */
function elements(shape) {
  return shape.reduce((product, length) => product * length, 1);
}

/** @param {number} bytes */
function gigabytes(bytes) {
  return (bytes / 1e9).toFixed(2);
}
