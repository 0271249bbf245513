/**
 * @file The memory budget: how much the engine may hold, and what it gives to each of its parts. It is kept by choosing how
 * many tokens one pass may hold; what a token takes follows from the model's shapes.
 */
import { VlRewardError } from "../../errors.ts";
import type { DecoderShape, Shape, VisionShape } from "../../models/backbone.ts";
import { queryBlock } from "../../nn/attention/packed-attention.ts";
import type { ComputeDtype } from "./precision.ts";
import { type SystemMemory, systemMemory } from "./system-memory.ts";

/** The part of the memory that is available when the engine opens that it takes, unless it is told how much. */
export const defaultShare = 0.8;

/** Less is taken for a forgotten unit: `--memory 16`. */
const smallestBudget = 256 * 2 ** 20;

/** Node, libtorch and their threads, before a model is there. */
const processBytes = 200 * 2 ** 20;

/**
 * Tokens of one pass. Fewer than the floor waste the processor: each pass reads, or converts, all weights. More than the
 * ceiling gain nothing on a CPU, whose matrix products are at their best from 2048 rows on, and cost memory. A GPU deals
 * them out in tiles to a hundred processors and more: with few tiles for each, the last ones leave most of them idle, and
 * for short passes it waits for the calls, a thousand and more whatever the pass holds.
 */
export const passTokens = { fewest: 512, most: 2048, mostOnCuda: 16_384 };

/** What a CUDA device takes for itself: the driver's context, the libraries' kernels. */
const contextBytes = 600 * 2 ** 20;

/** Scratch space of the libraries there, and keys put side by side for one attention call. */
const workspaceBytes = 512 * 2 ** 20;

const units: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/**
 * -> bytes. "16GB", "512MiB", "8e9" or "8000000000"; undefined means a share of what is free now, weights included.
 * Throws `usage` for what is no amount, and for one that no run can do with.
 */
export function memoryBudget(given: string | undefined, memory: SystemMemory = systemMemory()): number {
  if (given === undefined) return Math.max(smallestBudget, Math.floor(defaultShare * memory.available));
  const [, amount = "", unit = ""] = /^(\d+(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)$/i.exec(given.trim()) ?? [];
  const bytes = Math.floor(Number(amount || Number.NaN) * (units[unit.toLowerCase()] ?? Number.NaN));
  if (!Number.isSafeInteger(bytes)) {
    throw new VlRewardError(
      "usage",
      `"${given}" is no amount of memory; expected one like 16GB, 512MiB or 8e9 (bytes).`,
    );
  }
  if (bytes < smallestBudget) {
    throw new VlRewardError("usage", `A memory budget of "${given}" is ${bytes} bytes; at least 256MiB are needed.`);
  }
  return bytes;
}

/**
 * -> what the prepare threads may keep of pictures that may come again, and as much again for pictures and videos that are
 * decoded or wait decoded for their pass: pixels, three bytes each. For all threads together.
 */
export const preparedBytes = (budget: number): number => Math.min(2 ** 28, Math.floor(budget / 32));

/** What the parts of the engine may hold, in bytes, and how many tokens a pass may have with that. */
export interface MemoryPlan {
  readonly tokens: number;
  readonly activations: number;
  readonly featureCache: number;
  readonly prefixCache: number;
  /** See preparedBytes: these two hang on the budget alone. */
  readonly pictures: number;
  readonly waiting: number;
}

/**
 * Deals a budget out. The process, the weights, the buffer that they are converted in and prepared pictures come first; half
 * of the rest goes to the pass, if it can use so much, and what is left to the caches. Where nothing is left the pass has its
 * fewest tokens all the same, and nothing is cached: mapped weights are file pages, which the system may take back.
 *
 * @param budget bytes, of memoryBudget
 * @param weights bytes that the model holds, mapped files included
 * @param sharers how many models compute on the CPU: each gets a plan like this one, and the mapped weights are there once
 */
export function planMemory(
  budget: number,
  weights: number,
  shape: Shape,
  dtype: ComputeDtype,
  sharers = 1,
): MemoryPlan {
  const prepared = preparedBytes(budget);
  const shared = (budget - weights - processBytes - 2 * prepared) / sharers;
  return { ...dealtOut(shared - converterBytes(shape, dtype), shape, dtype, passTokens.most), ...both(prepared) };
}

/**
 * As planMemory, for a CUDA device that already holds the weights. Prepared pictures are the system's memory, not its.
 *
 * @param given bytes that the device may hold in all, context and weights included; undefined means a share of what is free
 * @param free bytes on the device now
 */
export function planDeviceMemory(
  given: number | undefined,
  free: number,
  weights: number,
  shape: Shape,
  dtype: ComputeDtype,
): MemoryPlan {
  const allowed = given === undefined ? defaultShare * free : Math.min(free, given - weights - contextBytes);
  return {
    ...dealtOut(allowed - workspaceBytes, shape, dtype, passTokens.mostOnCuda),
    ...both(preparedBytes(given ?? free)),
  };
}

const both = (prepared: number) => ({ pictures: prepared, waiting: prepared });

function dealtOut(
  bytes: number,
  shape: Shape,
  dtype: ComputeDtype,
  most: number,
): Omit<MemoryPlan, "pictures" | "waiting"> {
  const left = Math.max(0, bytes);
  const tokens = tokenBudget(shape, dtype, left / 2, most);
  const activations = activationBytes(shape, dtype, tokens);
  const rest = Math.max(0, left - activations);
  return {
    tokens,
    activations,
    prefixCache: Math.floor(0.75 * rest),
    featureCache: Math.floor(0.25 * rest),
  };
}

/** -> how many tokens one pass may hold in `bytes`: a whole number of kernel-friendly 256, between fewest and `most`. */
export function tokenBudget(shape: Shape, dtype: ComputeDtype, bytes: number, most: number = passTokens.most): number {
  const step = 256;
  let tokens = passTokens.fewest;
  while (tokens < most && activationBytes(shape, dtype, tokens + step) <= bytes) tokens += step;
  return tokens;
}

/**
 * -> what a pass holds at its widest moment, beside the weights: while it sees `patches`, or while it reads `tokens`. An
 * estimate, within a quarter; a test holds it against real passes.
 */
export function activationBytes(
  { decoder, vision }: Shape,
  dtype: ComputeDtype,
  tokens: number,
  patches: number = tokens * (vision?.patchesPerToken ?? 0),
): number {
  const width = dtype === "float32" ? 4 : 2;
  const reading = tokens * decoderTokenBytes(decoder, width) + maskBytes(tokens, width);
  const seeing = vision ? patches * patchBytes(vision, width) : 0;
  return Math.ceil(allocatorMargin * Math.max(reading, seeing));
}

/** What the allocator holds beyond what it was asked for. */
const allocatorMargin = 1.05;

/**
 * Widths that a layer holds at its widest moment: attention and the MLP follow each other, but part of what the smaller one
 * had stays with the allocator in pieces that the other cannot use (measured: 0.2 to 0.9 of it). The largest passes of the
 * 7B leave less, as tensors above 32 MB go back to the system: for them this is up to a third too much.
 */
const layerWidths = (attention: number, mlp: number): number =>
  Math.max(attention, mlp) + 0.6 * Math.min(attention, mlp);

/** One token while a decoder layer runs. */
function decoderTokenBytes(decoder: DecoderShape, width: number): number {
  const { hidden, headWidth, intermediate } = decoder;
  const [query, keyValue] = [headWidth * decoder.heads, headWidth * decoder.keyValueHeads];
  const embedding = 3 * hidden; // looked up, with the features in place, and the features themselves
  // Input, norm, queries and turned ones, heads, side by side, output, sum; in bfloat16 also the kernels' scratch space.
  const attention = 3 * hidden + (width === 4 ? 5 : 9) * query + 3 * keyValue;
  const mlp = 3 * hidden + mlpWidths(width) * intermediate; // sum, norm, the wide ones, down
  const kept = 2 * keyValue * decoder.layers; // keys and values for the cache, until the end of the pass
  return width * (embedding + layerWidths(attention, mlp) + kept);
}

/** One patch while a vision block runs. */
function patchBytes({ hidden, intermediate, patchNumbers }: VisionShape, width: number): number {
  const input = (width === 4 ? 4 : 6) * patchNumbers + width * 2 * hidden; // patches; embedded, in the window layout
  const attention = (width === 4 ? 13 : 22) * hidden; // as in the decoder, and put in order; turned in float32 always
  const mlp = 3 * hidden + mlpWidths(width) * intermediate;
  return input + width * layerWidths(attention, mlp);
}

/** Widths of the MLP: gate, up and their product; in bfloat16 also silu. */
const mlpWidths = (width: number): number => (width === 4 ? 3 : 4);

/** Masks of one long prompt, for each block of queries as wide as all keys up to its last (src/nn/attention/packed-attention.ts). */
const maskBytes = (tokens: number, width: number): number => (width * tokens * (tokens + queryBlock)) / 2;

/** The buffer in which weights are converted (src/nn/parameter.ts), as large as the largest matrix. */
function converterBytes({ decoder, vision }: Shape, dtype: ComputeDtype): number {
  if (dtype !== "float32") return 0;
  const merged = vision ? vision.hidden * vision.patchesPerToken : 0;
  const widest = Math.max(decoder.hidden, decoder.intermediate, decoder.heads * decoder.headWidth);
  return 4 * Math.max(decoder.hidden * widest, merged ** 2);
}
