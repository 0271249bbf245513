/**
 * @file The checkpoint that is measured where no other is given: the published 7B's proportions at half its width and a
 * seventh of its depth, 0.27 billion random weights (0.54 GB) beside a small vocabulary. The tokenizer is the embedded
 * model's, so that it can be made anywhere. Written tensor by tensor; equal everywhere for one version of libtorch.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** @type {typeof import("../src/torch/index.ts")} */
const torch = await import(new URL("../dist/torch/index.js", import.meta.url).href);
/** @type {typeof import("../src/models/qwen2_5_vl/config.ts")} */
const { parseConfig } = await import(new URL("../dist/models/qwen2_5_vl/config.js", import.meta.url).href);
/** @type {typeof import("../src/models/qwen2_5_vl/model.ts")} */
const { Qwen25VL } = await import(new URL("../dist/models/qwen2_5_vl/model.js", import.meta.url).href);

const embedded = fileURLToPath(new URL("../models/tiny/", import.meta.url));
const seed = 0;
const bytesPerWeight = 2; // bfloat16, as the published checkpoint is stored

/** The published 7B's proportions, at half its width, or less than a twentieth of that arithmetic. */
const sizes = {
  middle: {
    text: { hidden_size: 1792, intermediate_size: 9472, num_attention_heads: 14 },
    vision: { hidden_size: 640, num_heads: 8, intermediate_size: 1710 },
  },
  small: {
    text: { hidden_size: 512, intermediate_size: 1376, num_attention_heads: 4 },
    vision: { hidden_size: 160, num_heads: 2, intermediate_size: 432 },
  },
};
const text = {
  num_hidden_layers: 4,
  num_key_value_heads: 2,
  max_window_layers: 4,
  max_position_embeddings: 32_768,
  rope_scaling: { type: "mrope", mrope_section: [16, 24, 24] },
};
const vision = { depth: 5, fullatt_block_indexes: [4] };
/** The published checkpoints': the embedded model's would make every frame of a video as small as its own pictures. */
const pixelLimits = { min_pixels: 3136, max_pixels: 12_845_056 };

/**
 * Makes the checkpoint, if it is not there yet.
 *
 * @param {string} folder
 * @param {keyof typeof sizes} [size]
 */
export function makeRandomCheckpoint(folder, size = "middle") {
  const configFile = join(folder, "config.json");
  if (existsSync(configFile)) return;
  const began = performance.now();
  mkdirSync(folder, { recursive: true });
  const base = JSON.parse(readFileSync(join(embedded, "config.json"), "utf8"));
  const width = sizes[size].text.hidden_size;
  const visionConfig = { ...base.vision_config, ...vision, ...sizes[size].vision, out_hidden_size: width };
  const config = { ...base, ...text, ...sizes[size].text, vision_config: visionConfig };
  const parameters = [...new Qwen25VL(parseConfig(config, configFile)).namedParameters()];
  const generator = new torch.Generator(seed);
  writeTensors(
    join(folder, "model.safetensors"),
    parameters.map(([name, { shape }]) => ({ name, shape })),
    generator,
  );
  const head = [
    { name: "v_head.summary.weight", shape: [1, width] },
    { name: "v_head.summary.bias", shape: [1] },
  ];
  writeTensors(join(folder, "value_head.safetensors"), head, generator);
  generator.dispose();
  for (const name of readdirSync(embedded)) {
    if (/\.json$|^merges\.txt$/.test(name) && name !== "config.json")
      copyFileSync(join(embedded, name), join(folder, name));
  }
  const processorFile = join(folder, "preprocessor_config.json");
  const processor = JSON.parse(readFileSync(processorFile, "utf8"));
  writeFileSync(processorFile, JSON.stringify({ ...processor, ...pixelLimits }, null, 1));
  writeFileSync(configFile, JSON.stringify(config, null, 1)); // last: it says that the folder is whole
  console.log(`made a random checkpoint in ${folder} in ${((performance.now() - began) / 1000).toFixed(0)} s`);
}

/**
 * @param {string} file
 * @param {readonly { name: string, shape: readonly number[] }[]} tensors
 * @param {InstanceType<typeof torch.Generator>} generator
 */
function writeTensors(file, tensors, generator) {
  /** @type {Record<string, { dtype: string, shape: readonly number[], data_offsets: number[] }>} */
  const header = {};
  let end = 0;
  for (const { name, shape } of tensors) {
    const begin = end;
    end += bytesPerWeight * shape.reduce((product, length) => product * length, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [begin, end] };
  }
  // Padded to a multiple of 8 as the published files are: tensors at odd addresses would have to be copied.
  const json = JSON.stringify(header);
  const bytes = Buffer.from(json.padEnd(8 * Math.ceil(json.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  const fd = openSync(file, "w");
  try {
    writeAll(fd, length);
    writeAll(fd, bytes);
    for (const { name, shape } of tensors) writeAll(fd, new Uint8Array(randomWeights(name, shape, generator).buffer));
  } finally {
    closeSync(fd);
  }
}

/**
 * @param {number} fd
 * @param {Uint8Array} bytes
 */
function writeAll(fd, bytes) {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
}

/**
 * -> bfloat16 as its bits. Scaled so that hidden states stay in range and a score answers to every pixel and token.
 *
 * @param {string} name
 * @param {readonly number[]} shape
 * @param {InstanceType<typeof torch.Generator>} generator
 */
function randomWeights(name, shape, generator) {
  const [scale, mean] = distribution(name, shape);
  return torch.noGrad(() =>
    torch.scope(() => {
      const values = torch.mulScalar(torch.randn(shape, generator), scale);
      if (mean !== 0) torch.addScalarInto(values, mean);
      return torch.toDtype(values, "bfloat16").toTypedArray();
    }),
  );
}

/**
 * @param {string} name
 * @param {readonly number[]} shape
 * @returns {[scale: number, mean: number]}
 */
function distribution(name, shape) {
  if (name.startsWith("v_head")) return [shape.length > 1 ? 2 / Math.sqrt(shape[1] ?? 1) : 0.3, 0];
  if (shape.length === 1) return /norm|ln_q/.test(name) ? [0.2, 1] : [0.3, 0];
  if (name.includes("embed_tokens")) return [1, 0];
  const inputs = shape.slice(1).reduce((product, length) => product * length, 1);
  return [(/q_proj|k_proj|qkv/.test(name) ? 1.6 : 1) / Math.sqrt(inputs), 0]; // sharper attention
}
