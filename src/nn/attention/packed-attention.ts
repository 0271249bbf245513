/**
 * @file Attention over many conversations side by side in one stream of tokens. A group is a prefix and its branches: each
 * branch attends to the prefix and to itself, never to a sibling, so the prefix is computed once for all of them, and a
 * branch gives what it would give alone.
 *
 * In float32 on the CPU the results have the same bits whatever else is in the stream. Three things make it so: a branch
 * attends over its prefix's and its own keys put side by side, not over a stream with the others masked; queries go in
 * blocks whose borders follow from the prefix alone; and the attention kernel is called once per block and branch, with a
 * number of queries that meets the same matrix kernels on any number of threads.
 */
import {
  cat,
  type Device,
  type Dtype,
  full,
  narrow,
  scaledDotProductAttention,
  scope,
  select,
  type Tensor,
  transpose,
  triuInto,
  unsqueeze,
} from "../../torch/index.ts";

/** The keys, already turned, and values of consecutive tokens in one layer. */
export interface KeyValues {
  readonly keys: Tensor; // [tokens, key/value heads, head width]
  readonly values: Tensor; // the same
}

/** Tokens of the stream that stand side by side. */
export interface Run {
  readonly start: number;
  readonly length: number;
}

export interface PackedGroup {
  /** The part of the prefix that is in the stream; empty where all of it was computed before. */
  readonly prefix: Run;
  /** The part that was computed before, layer by layer: it comes first. */
  readonly before?: readonly KeyValues[];
  readonly branches: readonly Run[];
}

/** Queries that one kernel call takes at most: bounds the mask, and cuts prefixes at places that budgets do not move. */
export const queryBlock = 1024;

/** Consecutive queries of a run that go to the kernel together. */
interface Block {
  /** The first one in the stream, and their number. */
  readonly start: number;
  readonly length: number;
  /** How many of the run's keys, prefix included, the last of them sees. */
  readonly visible: number;
  /** [1, 1, filled up length, visible]; absent where the queries see just each other. */
  readonly mask?: Tensor;
}

export type PrefixListener = (group: PackedGroup, layer: number, prefix: KeyValues) => void;

/** Attention over a stream, layer by layer. */
export interface TokenAttention {
  /**
   * q [tokens, heads, width], k and v [tokens, key/value heads, width] of the whole stream, turned
   * -> [tokens, heads, width]
   */
  attend(layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor;
}

/** Attention over prefixes and their branches. */
export interface StreamAttention extends TokenAttention {
  /**
   * As attend, for the last token of every branch only. `q` holds their queries in the order of the stream [rows, heads,
   * width]; rows beyond them are padding and come back as they are.
   */
  attendLast(layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor;
}

export class PackedAttention implements StreamAttention {
  readonly #groups: readonly {
    group: PackedGroup;
    prefix: readonly Block[];
    branches: readonly (readonly Block[])[];
  }[];
  readonly #onPrefix: PrefixListener | undefined;

  /**
   * Makes the masks that all layers share; they belong to the surrounding scope.
   *
   * @param groups in the order of the stream, prefix before branches, with no token between them
   * @param of the queries: their dtype and device
   * @param onPrefix is handed the keys and values of each group's whole prefix in each layer, to be copied if they are to
   * be kept
   */
  constructor(groups: readonly PackedGroup[], of: { dtype: Dtype; device: Device }, onPrefix?: PrefixListener) {
    const masks = new Map<string, Tensor>();
    const maskOf = (queries: number, keys: number): Tensor => {
      const name = `${queries} ${keys}`;
      const mask = masks.get(name) ?? makeMask(queries, keys, of.dtype, of.device);
      masks.set(name, mask);
      return mask;
    };
    this.#onPrefix = onPrefix;
    this.#groups = groups.map((group) => {
      const before = group.before?.[0]?.keys.size(0) ?? 0;
      return {
        group,
        prefix: blocksOf(group.prefix, before, maskOf),
        branches: group.branches.map((branch) => blocksOf(branch, before + group.prefix.length, maskOf)),
      };
    });
  }

  attend(layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor {
    const parts: Tensor[] = [];
    for (const { group, prefix, branches } of this.#groups) {
      const context = this.#prefixOf(group, layer, k, v);
      for (const block of prefix) parts.push(attendBlock(block, q, context));
      for (const [index, branch] of group.branches.entries()) {
        // A scope for each branch: its copy of the prefix's keys and values goes before the next one is made.
        const attended = scope(() => {
          const keyValues = joined(context, runOf(k, v, branch));
          return (branches[index] ?? []).map((block) => attendBlock(block, q, keyValues));
        });
        parts.push(...attended);
      }
    }
    return cat(parts, 0);
  }

  attendLast(layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor {
    const parts: Tensor[] = [];
    for (const { group } of this.#groups) {
      const context = this.#prefixOf(group, layer, k, v);
      for (const branch of group.branches) {
        const attended = scope(() => {
          const { keys, values } = joined(context, runOf(k, v, branch));
          return kernel(narrow(q, 0, parts.length, 1), keys, values, null, false);
        });
        parts.push(attended);
      }
    }
    parts.push(narrow(q, 0, parts.length, q.size(0) - parts.length));
    return cat(parts, 0);
  }

  #prefixOf(group: PackedGroup, layer: number, k: Tensor, v: Tensor): KeyValues {
    const prefix = prefixOf(group, layer, k, v);
    this.#onPrefix?.(group, layer, prefix);
    return prefix;
  }
}

/** -> the keys and values of a group's whole prefix, those that were computed before among them */
export function prefixOf(group: PackedGroup, layer: number, k: Tensor, v: Tensor): KeyValues {
  const before = group.before?.[layer];
  const inStream = runOf(k, v, group.prefix);
  return before ? joined(before, inStream) : inStream;
}

/** Blocks end at multiples of queryBlock counted from the first key, so that they do not depend on where a prefix is cut. */
function blocksOf(run: Run, before: number, maskOf: (queries: number, keys: number) => Tensor): Block[] {
  const blocks: Block[] = [];
  for (let from = 0; from < run.length; ) {
    const end = (Math.floor((before + from) / queryBlock) + 1) * queryBlock - before;
    const length = Math.min(run.length, end) - from;
    const visible = before + from + length;
    const block = { start: run.start + from, length, visible };
    blocks.push(visible === length ? block : { ...block, mask: maskOf(length, visible) });
    from += length;
  }
  return blocks;
}

/**
 * Each of `queries` sees the keys up to its own, the last of `keys` being the last query's; what fills the queries up sees
 * all. -> [1, 1, filled up queries, keys]
 */
function makeMask(queries: number, keys: number, dtype: Dtype, device: Device): Tensor {
  const mask = full([1, 1, filledUp(queries), keys], Number.NEGATIVE_INFINITY, dtype, null, device);
  return triuInto(mask, keys - queries + 1);
}

function attendBlock({ start, length, visible, mask }: Block, q: Tensor, { keys, values }: KeyValues): Tensor {
  const seen = (x: Tensor): Tensor => narrow(x, 0, 0, visible);
  return kernel(narrow(q, 0, start, length), seen(keys), seen(values), mask ?? null, mask === undefined);
}

/**
 * One call of the attention kernel: tensors [tokens, heads, width] in and out. Queries are filled up with copies of the
 * last one, whose results are dropped.
 */
function kernel(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | null, causal: boolean): Tensor {
  const queries = q.size(0);
  const last = narrow(q, 0, queries - 1, 1);
  const copies = new Array<Tensor>(filledUp(queries) - queries).fill(last);
  const batch = (x: Tensor): Tensor => unsqueeze(transpose(x, 0, 1), 0);
  const filled = copies.length > 0 ? cat([q, ...copies], 0) : q;
  const attended = scaledDotProductAttention(batch(filled), batch(k), batch(v), mask, 0, causal, null, true);
  return narrow(transpose(select(attended, 0, 0), 0, 1), 0, 0, queries);
}

/** An odd number of queries meets other matrix kernels on one thread than on several. */
const filledUp = (queries: number): number => Math.ceil(queries / 16) * 16;

const runOf = (k: Tensor, v: Tensor, run: Run): KeyValues => ({
  keys: narrow(k, 0, run.start, run.length),
  values: narrow(v, 0, run.start, run.length),
});

function joined(first: KeyValues, second: KeyValues): KeyValues {
  if (first.keys.size(0) === 0) return second;
  if (second.keys.size(0) === 0) return first;
  return { keys: cat([first.keys, second.keys], 0), values: cat([first.values, second.values], 0) };
}
