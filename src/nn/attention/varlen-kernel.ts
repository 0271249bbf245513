/**
 * @file The attention kernel for many sequences of different lengths in one call, FlashAttention (Dao, arXiv 2307.08691) as
 * libtorch has it: bfloat16 on CUDA devices from Ampere on.
 */
import {
  type Device,
  type Dtype,
  empty,
  flashAttentionForward,
  fusedSdpChoice,
  scope,
  type Tensor,
} from "../../torch/index.ts";

/** Where the sequences of a call begin; each ends where the next one begins. */
export interface Lengths<Offsets> {
  /** Of the queries, then of the keys and values: 0, ..., their number. */
  readonly queries: Offsets; // [sequences + 1], int32
  readonly keys: Offsets; // [sequences + 1], int32
  readonly longestQueries: number;
  readonly longestKeys: number;
}

/**
 * q [queries, heads, width], k and v [keys, key/value heads, width] of all sequences one after the other -> [queries, heads,
 * width]. Causal aligns the ends: the last query of a sequence sees all its keys, the one before it all but one.
 */
export type VarlenKernel = (
  q: Tensor,
  k: Tensor,
  v: Tensor,
  lengths: Lengths<Tensor>,
  options: { readonly causal: boolean },
) => Tensor;

export const flashVarlen: VarlenKernel = (q, k, v, { queries, keys, longestQueries, longestKeys }, { causal }) =>
  scope(() => flashAttentionForward(q, k, v, queries, keys, longestQueries, longestKeys, 0, causal, false)[0]);

/** Whether flashVarlen takes such tensors. */
export function takesVarlen(of: { readonly dtype: Dtype; readonly device: Device }, headWidth: number): boolean {
  if (of.dtype !== "bfloat16" || !of.device.startsWith("cuda")) return false;
  return headWidth % 8 === 0 && headWidth <= 256 && isAmpere(of.device);
}

const known = new Map<Device, boolean>();

/** Asks libtorch what it would take for ordinary attention: flash (1) and cuDNN's (3) both need Ampere, and no other does. */
function isAmpere(device: Device): boolean {
  const found = known.get(device) ?? [1, 3].includes(scope(() => choiceFor(device)));
  known.set(device, found);
  return found;
}

function choiceFor(device: Device): number {
  const x = empty([1, 1, 128, 64], "bfloat16", null, device);
  return fusedSdpChoice(x, x, x);
}

/** -> offsets of sequences of these lengths: 0, ..., their sum */
export function offsetsOf(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  for (const [index, length] of lengths.entries()) offsets[index + 1] = (offsets[index] ?? 0) + length;
  return offsets;
}
