/**
 * @file The work that a workload needs, counted from the model's shapes: 2 operations for each multiply and add of its
 * matrix products and of attention. What is left out (norms, activations, positions, the head's one row) is below 0.1%.
 *
 * Needed is what remains after sharing and pruning: each picture and each prompt once, each token of an answer once; in
 * the last layer keys and values of all tokens, the rest only where a reward is read. Attention counts the pairs of a
 * query and a key that it sees, so the masked half is no work.
 */

/** @typedef {import("../src/models/qwen2_5_vl/config.ts").VisionConfig} VisionConfig */
/** @typedef {import("../src/models/qwen2_5_vl/config.ts").TextConfig} TextConfig */
/** @typedef {import("../src/models/prompt.ts").Grid} Grid */

/**
 * What the decoder runs on. Pairs are those of a query and a key that it sees, itself included.
 *
 * @typedef {object} DecoderLoad
 * @property {number} tokens
 * @property {number} pairs
 * @property {number} readTokens in the last layer: all of them, or the last of each answer
 * @property {number} readPairs
 */

/**
 * A picture (t = 1) or a video through the vision tower -> FLOP
 *
 * @param {VisionConfig} config
 * @param {Grid} grid in patches
 */
export function visionWork(config, { t, h, w }) {
  const { hiddenSize, intermediateSize, depth, patchSize, temporalPatchSize, spatialMergeSize } = config;
  const patches = t * h * w;
  const fullBlocks = config.fullAttentionBlocks.length;
  const embedding = patches * 3 * temporalPatchSize * patchSize ** 2 * hiddenSize;
  const linears = depth * patches * (4 * hiddenSize ** 2 + 3 * hiddenSize * intermediateSize); // q, k, v, output; the MLP
  const windowSide = Math.floor(config.windowSize / patchSize / spatialMergeSize) * spatialMergeSize; // patches
  const pairs =
    t * (fullBlocks * (h * w) ** 2 + (depth - fullBlocks) * squares(h, windowSide) * squares(w, windowSide));
  const attention = 2 * pairs * hiddenSize; // scores, then their sum of values
  const merged = hiddenSize * spatialMergeSize ** 2;
  const merger = (patches / spatialMergeSize ** 2) * (merged ** 2 + merged * config.outHiddenSize);
  return 2 * (embedding + linears + attention + merger);
}

/**
 * The sum of the squared lengths of the windows along one side; the last one is cut.
 *
 * @param {number} length
 * @param {number} side
 */
function squares(length, side) {
  return Math.floor(length / side) * side ** 2 + (length % side) ** 2;
}

/**
 * @param {TextConfig} config
 * @param {DecoderLoad} load
 * @returns {number} FLOP
 */
export function decoderWork({ hiddenSize, intermediateSize, layers, heads, keyValueHeads }, load) {
  const keyValues = 2 * hiddenSize * (hiddenSize / heads) * keyValueHeads;
  const rest = 2 * hiddenSize ** 2 + 3 * hiddenSize * intermediateSize; // queries, output; the MLP
  const attention = 2 * hiddenSize;
  const before = (layers - 1) * (load.tokens * (keyValues + rest) + load.pairs * attention);
  const last = load.tokens * keyValues + load.readTokens * rest + load.readPairs * attention;
  return 2 * (before + last);
}

/**
 * The load of one prompt and its distinct answers.
 *
 * @param {number} prefix tokens of the prompt
 * @param {readonly number[]} branches tokens of each answer
 * @param {{ cached: boolean }} options whether the prompt's keys and values are there already
 * @returns {DecoderLoad}
 */
export function sharedLoad(prefix, branches, { cached }) {
  const load = { tokens: 0, pairs: 0, readTokens: 0, readPairs: 0 };
  if (!cached) {
    load.tokens += prefix;
    load.pairs += triangle(prefix);
  }
  for (const branch of branches) {
    load.tokens += branch;
    load.pairs += branch * prefix + triangle(branch);
    load.readTokens += 1;
    load.readPairs += prefix + branch;
  }
  return load;
}

/**
 * The load of one conversation as a plain forward runs it: every token through every layer.
 *
 * @param {number} tokens
 * @returns {DecoderLoad}
 */
export function plainLoad(tokens) {
  return { tokens, pairs: triangle(tokens), readTokens: tokens, readPairs: triangle(tokens) };
}

/** @param {number} n */
function triangle(n) {
  return (n * (n + 1)) / 2;
}
