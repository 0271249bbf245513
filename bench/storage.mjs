/**
 * @file What it costs to compute in float32 from weights that are stored in bfloat16, each matrix converted when it is
 * used into one shared buffer: at most 5% of the time that the same weights take when they are stored in float32.
 *
 *     node bench/storage.mjs MODEL
 *
 * MODEL is a checkpoint stored in bfloat16. Its float32 copy is written to a temporary folder, of twice the size, and
 * removed. The work is a pair: a picture of 1073x972 is seen once, and two answers of 130 tokens are read after it, each
 * with its whole prompt.
 */
import { closeSync, copyFileSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Table from "cli-table3";

/** @type {typeof import("../src/torch/index.ts")} */
const torch = await import(new URL("../dist/torch/index.js", import.meta.url).href);
/** @type {typeof import("../src/nn/index.ts")} */
const { placement } = await import(new URL("../dist/nn/index.js", import.meta.url).href);
/** @type {typeof import("../src/checkpoint/checkpoint.ts")} */
const { listTensors } = await import(new URL("../dist/checkpoint/checkpoint.js", import.meta.url).href);
/** @type {typeof import("../src/models/backbone.ts")} */
const { unrecorded } = await import(new URL("../dist/models/backbone.js", import.meta.url).href);
/** @type {typeof import("../src/models/features.ts")} */
const { Features } = await import(new URL("../dist/models/features.js", import.meta.url).href);
/** @type {typeof import("../src/models/qwen2_5_vl/model.ts")} */
const { Qwen25VL } = await import(new URL("../dist/models/qwen2_5_vl/model.js", import.meta.url).href);
/** @type {typeof import("../src/nn/attention/packed-attention.ts")} */
const { PackedAttention } = await import(new URL("../dist/nn/attention/packed-attention.js", import.meta.url).href);
/** @type {typeof import("../src/models/reward-model.ts")} */
const { RewardModel } = await import(new URL("../dist/models/reward-model.js", import.meta.url).href);
const { Generator, narrow, mapFile, noGrad, randn, scope, toDtype } = torch;

const limit = 1.05;
const rounds = 5;
const grid = { t: 1, h: 70, w: 76 }; // 1330 visual tokens
const [visualTokens, tokens] = [1330, 1330 + 60 + 130];

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("expected the folder of a checkpoint");
const copy = mkdtempSync(join(tmpdir(), "storage-"));
try {
  writeAsFloat32(folder, copy);
  const load = (/** @type {string} */ path) => RewardModel.load(path, placement("cpu", "float32", "mapped"));
  const models = [
    { stored: "float32", model: load(copy) },
    { stored: "bfloat16", model: load(folder) },
  ];
  const patches = randn([grid.t * grid.h * grid.w, 1176], new Generator(0));
  const sequence = {
    ids: Int32Array.from({ length: tokens }, (_, index) => index % 997),
    positions: Int32Array.from({ length: 3 * tokens }, (_, index) => index % tokens),
    visualPlaces: Int32Array.from({ length: visualTokens }, (_, index) => index + 20),
  };
  const pair = (/** @type {InstanceType<typeof RewardModel>} */ model) =>
    noGrad(() =>
      scope(() => {
        const { backbone, head } = model;
        if (!(backbone instanceof Qwen25VL)) throw new Error("expected a Qwen2.5-VL");
        const features = new Features([backbone.visual.forward(patches, [grid])]);
        const groups = [{ prefix: { start: 0, length: tokens }, branches: [] }];
        const attention = new PackedAttention(groups, { dtype: "float32", device: "cpu" });
        return [0, 1].map(() => {
          const hidden = backbone.forwardAll(sequence, features, attention, unrecorded);
          return head.forward(narrow(hidden, 0, tokens - 1, 1)).toFloat32Array()[0];
        });
      }),
    );

  /** @type {number[][]} */
  const times = models.map(() => []);
  for (let round = -1; round < rounds; round++) {
    const turn = round % 2 === 0 ? models : [...models].reverse();
    for (const { stored, model } of turn) {
      const begin = performance.now();
      pair(model);
      if (round >= 0) times[stored === "float32" ? 0 : 1]?.push(performance.now() - begin); // the first warms up
    }
  }
  const [own = Number.NaN, converted = Number.NaN] = times.map(median);
  const scores = models.map(({ model }) => pair(model)[0]);
  if (scores[0] !== scores[1]) throw new Error(`the two do not compute the same: ${scores.join(" and ")}`);

  const ratio = converted / own;
  const table = new Table({ head: ["weights stored in", "ms a pair"], style: { head: [], border: [] } });
  table.push(["float32", own.toFixed(0)], ["bfloat16", converted.toFixed(0)]);
  console.log(`float32 arithmetic, medians of ${rounds} runs in turns`);
  console.log(table.toString());
  console.log(`Converting costs ${(100 * (ratio - 1)).toFixed(1)}%; the limit is ${(100 * (limit - 1)).toFixed(0)}%.`);
  process.exitCode = ratio <= limit ? 0 : 1;
} finally {
  rmSync(copy, { recursive: true });
}

/**
 * Writes a checkpoint again, its tensors in float32, one at a time.
 *
 * @param {string} source
 * @param {string} target
 */
function writeAsFloat32(source, target) {
  const tensors = [...listTensors(source)];
  /** @type {Record<string, { dtype: string, shape: readonly number[], data_offsets: number[] }>} */
  const header = {};
  let end = 0;
  for (const [name, { shape }] of tensors) {
    const begin = end;
    end += 4 * shape.reduce((product, length) => product * length, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [begin, end] };
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(8 * Math.ceil(json.length / 8))); // tensors at even addresses are not copied
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const fd = openSync(join(target, "model.safetensors"), "w");
  writeSync(fd, length);
  writeSync(fd, text);
  for (const [, tensor] of tensors) {
    scope(() => {
      for (const stored of mapFile(tensor.file, [tensor])) {
        const values = toDtype(stored, "float32").toFloat32Array();
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
      }
    });
  }
  closeSync(fd);
  for (const name of readdirSync(source)) {
    if (!name.includes("safetensors")) copyFileSync(join(source, name), join(target, name));
  }
}

/** @param {readonly number[]} values */
function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
