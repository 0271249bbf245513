/**
 * @file Packed attention for CUDA: what packed-attention.ts defines, in one kernel call a layer instead of one for each
 * branch. A GPU is done with a small call before the next one has reached it.
 *
 * Every prefix and every branch is a sequence of the call. Their queries lie in the stream as they are; their keys are put
 * side by side first, for each branch its prefix's and then its own: a copy of a few hundred bytes for each key, where the
 * kernel does some hundred thousand operations.
 */
import {
  cat,
  type Device,
  type Dtype,
  indexSelect,
  narrow,
  scope,
  type Tensor,
  tensorFrom,
} from "../../torch/index.ts";
import {
  PackedAttention,
  type PackedGroup,
  type PrefixListener,
  prefixOf,
  type Run,
  type StreamAttention,
} from "./packed-attention.ts";
import { flashVarlen, type Lengths, offsetsOf, takesVarlen, type VarlenKernel } from "./varlen-kernel.ts";

/** Keys that are put side by side for one call, unless a single sequence has more: bounds the memory for them. */
const keysPerCall = 2 ** 16;

/** -> the attention over `groups` for queries of this dtype, device and width: varlen where the device has its kernel. */
export function attentionOver(
  groups: readonly PackedGroup[],
  of: { readonly dtype: Dtype; readonly device: Device; readonly headWidth: number },
  onPrefix?: PrefixListener,
): StreamAttention {
  return takesVarlen(of, of.headWidth)
    ? new VarlenAttention(groups, of.device, onPrefix)
    : new PackedAttention(groups, of, onPrefix);
}

/** Some sequences, in the order of their queries. */
export interface VarlenCall extends Lengths<Int32Array> {
  /** Their queries: they stand side by side. */
  readonly run: Run;
  /**
   * Which keys they have: rows of all keys that were computed before, group by group, with the stream's below them.
   */
  readonly keyRows: Int32Array; // [keys]
}

/** A sequence of a call. */
interface Sequence {
  readonly queries: Run;
  readonly keys: readonly Run[]; // rows, as keyRows has them
}

/**
 * @param reads "all" tokens of the stream ask, or just the "last" one of every branch: their queries are rows of their own
 */
export function planVarlen(
  groups: readonly PackedGroup[],
  reads: "all" | "last",
  mostKeys: number = keysPerCall,
): VarlenCall[] {
  const calls: VarlenCall[] = [];
  let current: Sequence[] = [];
  let keys = 0;
  for (const sequence of sequencesOf(groups, reads)) {
    const own = sum(sequence.keys.map(({ length }) => length));
    if (current.length > 0 && keys + own > mostKeys) {
      calls.push(callOf(current));
      [current, keys] = [[], 0];
    }
    current.push(sequence);
    keys += own;
  }
  if (current.length > 0) calls.push(callOf(current));
  return calls;
}

function sequencesOf(groups: readonly PackedGroup[], reads: "all" | "last"): Sequence[] {
  const streamStart = sum(groups.map(beforeOf));
  const inRows = ({ start, length }: Run): Run => ({ start: streamStart + start, length });
  const sequences: Sequence[] = [];
  let beforeStart = 0;
  for (const group of groups) {
    const context = [{ start: beforeStart, length: beforeOf(group) }, inRows(group.prefix)];
    beforeStart += beforeOf(group);
    if (reads === "all" && group.prefix.length > 0) sequences.push({ queries: group.prefix, keys: context });
    for (const branch of group.branches) {
      const queries = reads === "all" ? branch : { start: sequences.length, length: 1 };
      sequences.push({ queries, keys: [...context, inRows(branch)] });
    }
  }
  return sequences;
}

function callOf(sequences: readonly Sequence[]): VarlenCall {
  const queries = sequences.map(({ queries }) => queries.length);
  const keys = sequences.map(({ keys }) => sum(keys.map(({ length }) => length)));
  const keyRows = new Int32Array(sum(keys));
  let filled = 0;
  for (const { start, length } of sequences.flatMap(({ keys }) => keys)) {
    for (let row = start; row < start + length; row++) keyRows[filled++] = row;
  }
  return {
    run: { start: sequences[0]?.queries.start ?? 0, length: sum(queries) },
    keyRows,
    queries: offsetsOf(queries),
    keys: offsetsOf(keys),
    longestQueries: Math.max(...queries),
    longestKeys: Math.max(...keys),
  };
}

interface PlacedCall {
  readonly run: Run;
  readonly keyRows: Tensor;
  readonly lengths: Lengths<Tensor>;
}

export class VarlenAttention implements StreamAttention {
  readonly #groups: readonly PackedGroup[];
  readonly #onPrefix: PrefixListener | undefined;
  readonly #kernel: VarlenKernel;
  readonly #all: readonly PlacedCall[];
  readonly #last: readonly PlacedCall[];

  /** As PackedAttention's. What all layers share is made here and belongs to the surrounding scope. */
  constructor(
    groups: readonly PackedGroup[],
    device: Device,
    onPrefix?: PrefixListener,
    { kernel = flashVarlen, mostKeys = keysPerCall }: { kernel?: VarlenKernel; mostKeys?: number } = {},
  ) {
    const index = (values: Int32Array): Tensor => tensorFrom(values, [values.length], "int32", device);
    const placed = (call: VarlenCall): PlacedCall => ({
      run: call.run,
      keyRows: index(call.keyRows),
      lengths: { ...call, queries: index(call.queries), keys: index(call.keys) },
    });
    this.#groups = groups;
    this.#onPrefix = onPrefix;
    this.#kernel = kernel;
    this.#all = planVarlen(groups, "all", mostKeys).map(placed);
    this.#last = planVarlen(groups, "last", mostKeys).map(placed);
  }

  attend(layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor {
    return joined(this.#run(this.#all, layer, q, k, v));
  }

  attendLast(layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor {
    const attended = this.#run(this.#last, layer, q, k, v);
    const rows = attended.reduce((sum, part) => sum + part.size(0), 0);
    return joined([...attended, narrow(q, 0, rows, q.size(0) - rows)]);
  }

  #run(calls: readonly PlacedCall[], layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor[] {
    this.#tellPrefixes(layer, k, v);
    const before = this.#groups.map((group) => group.before?.[layer]).filter((pair) => pair !== undefined);
    const keys = joined([...before.map((pair) => pair.keys), k]);
    const values = joined([...before.map((pair) => pair.values), v]);
    return calls.map(({ run, keyRows, lengths }) =>
      scope(() => {
        const queries = narrow(q, 0, run.start, run.length);
        const own = (rows: Tensor): Tensor => indexSelect(rows, 0, keyRows);
        return this.#kernel(queries, own(keys), own(values), lengths, { causal: true });
      }),
    );
  }

  #tellPrefixes(layer: number, k: Tensor, v: Tensor): void {
    const tell = this.#onPrefix;
    if (!tell) return;
    for (const group of this.#groups) tell(group, layer, prefixOf(group, layer, k, v));
  }
}

const beforeOf = ({ before }: PackedGroup): number => before?.[0]?.keys.size(0) ?? 0;

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

const joined = (parts: readonly Tensor[]): Tensor => (parts.length === 1 && parts[0] ? parts[0] : cat(parts, 0));
