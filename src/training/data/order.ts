/**
 * @file Which pairs each step of a stage sees: a pure function of the seed, the stage and the step, so that a resumed run
 * needs nothing but the step's number.
 *
 * Each source is an endless stream of its pairs: one permutation of its records after the other (or its own order, round
 * and round), the pairs of a record side by side; where there is always another record, the records in their own order.
 * An epoch takes the next round(weight x pairs) of each source's stream, so that at weight 1 it holds every pair once, and
 * at 0.5 a half, the next epoch the other half. What it has taken is shuffled, records whole, and those that belong together
 * side by side. Epochs follow each other without a seam and are cut into batches: a record may lie in two batches, with
 * some of its pairs in each.
 */

import { randomStream, shuffle } from "../../data/random.ts";
import { VlRewardError } from "../../errors.ts";
import type { RecordSource } from "./record-source.ts";

/** Pairs of one record that a batch holds. */
export interface BatchEntry {
  /** Index in the stage's sources. */
  readonly source: number;
  /** Index in the source's records. */
  readonly record: number;
  /** Indices in the record's pairs; consecutive. */
  readonly pairs: readonly number[];
}

export interface StageOrder {
  readonly seed: number;
  /** Index of the stage in the run. */
  readonly stage: number;
  readonly sources: readonly OrderedSource[];
  /** Pairs in a batch, over all processes. */
  readonly batchSize: number;
  /** False: the sources one after the other, each in its own order. */
  readonly shuffle: boolean;
  readonly length: { readonly epochs: number } | { readonly steps: number };
}

export interface OrderedSource {
  readonly source: Pick<RecordSource, "name" | "length" | "together" | "pairsOf">;
  /**
   * How much of the source an epoch holds; 2 is every pair twice. Of one without end: how many pairs, as a multiple of
   * those that the others give together.
   */
  readonly weight: number;
}

/** The pairs of an epoch, in order: runs of pairs of one record. */
interface Epoch {
  readonly sources: Uint32Array; // [runs]
  readonly records: Uint32Array; // [runs]
  readonly firsts: Uint32Array; // [runs], the run's first pair in its record
  readonly ends: Float64Array; // [runs], pairs of the epoch up to the end of this run
}

/** What weight 1 is in an epoch where no source has an end. */
const endlessEpoch = 4096; // pairs

export class StagePlan {
  /** Steps of the stage. */
  readonly steps: number;
  readonly pairsPerEpoch: number;
  /** Pairs of all steps; less than steps x batchSize where the last batch is smaller. */
  readonly pairs: number;

  readonly #order: StageOrder;
  readonly #totals: readonly number[]; // pairs of each source
  readonly #quotas: readonly number[]; // of them in an epoch
  readonly #epochs = new Map<number, Epoch>(); // the two that were asked for last

  /** Throws `usage` where a source would give nothing. */
  constructor(order: StageOrder) {
    this.#order = order;
    this.#totals = order.sources.map(({ source }) => totalPairs(source));
    this.#quotas = quotasOf(order.sources, this.#totals);
    this.pairsPerEpoch = this.#quotas.reduce((sum, quota) => sum + quota, 0);
    if (this.pairsPerEpoch === 0) throw new VlRewardError("usage", "a stage needs at least one file of pairs");
    this.pairs =
      "steps" in order.length
        ? order.length.steps * order.batchSize
        : Math.round(order.length.epochs * this.pairsPerEpoch);
    this.steps = Math.ceil(this.pairs / order.batchSize);
  }

  /** The pairs of a step, counted from 1 within the stage. Only a stage's last batch can be smaller than `batchSize`. */
  batch(step: number): BatchEntry[] {
    if (!(Number.isInteger(step) && step >= 1 && step <= this.steps)) {
      throw new RangeError(`there is no step ${step} among ${this.steps}`);
    }
    const entries: BatchEntry[] = [];
    let position = (step - 1) * this.#order.batchSize; // in the stage's pairs
    const end = Math.min(position + this.#order.batchSize, this.pairs);
    while (position < end) {
      const number = Math.floor(position / this.pairsPerEpoch);
      const before = number * this.pairsPerEpoch;
      const epoch = this.#epoch(number);
      for (let run = runAt(epoch, position - before); run < epoch.ends.length && position < end; run++) {
        const start = run === 0 ? 0 : (epoch.ends[run - 1] ?? 0);
        const stop = Math.min(epoch.ends[run] ?? 0, end - before);
        const first = (epoch.firsts[run] ?? 0) + (position - before - start);
        const pairs = Array.from({ length: before + stop - position }, (_, offset) => first + offset);
        entries.push({ source: epoch.sources[run] ?? 0, record: epoch.records[run] ?? 0, pairs });
        position = before + stop;
      }
    }
    return entries;
  }

  #epoch(number: number): Epoch {
    const known = this.#epochs.get(number);
    if (known) return known;
    const epoch = this.#makeEpoch(number);
    const [oldest] = this.#epochs.keys();
    if (this.#epochs.size >= 2 && oldest !== undefined) this.#epochs.delete(oldest);
    this.#epochs.set(number, epoch);
    return epoch;
  }

  #makeEpoch(number: number): Epoch {
    const runs: Runs = { sources: [], records: [], firsts: [], counts: [] };
    for (const source of this.#order.sources.keys()) this.#takeFrom(source, number, runs);
    const blocks = this.#blocks(runs);
    const places = Uint32Array.from(blocks.keys());
    const { seed, stage } = this.#order;
    if (this.#order.shuffle) shuffle(places, randomStream("epoch", seed, stage, number));
    const order = new Uint32Array(runs.sources.length);
    const ends = new Float64Array(order.length);
    let [placed, pairs] = [0, 0];
    for (const block of places) {
      for (let run = blocks[block] ?? 0; run < (blocks[block + 1] ?? order.length); run++) {
        order[placed] = run;
        pairs += runs.counts[run] ?? 0;
        ends[placed++] = pairs;
      }
    }
    const inOrder = (values: readonly number[]) => order.map((run) => values[run] ?? 0);
    return { sources: inOrder(runs.sources), records: inOrder(runs.records), firsts: inOrder(runs.firsts), ends };
  }

  /** Where runs begin that are put in order as one: each for itself, or those of records that belong together. */
  #blocks({ sources, records }: Runs): number[] {
    const blocks: number[] = [];
    for (const [run, record] of records.entries()) {
      const source = sources[run] ?? 0;
      const { together = 1 } = this.#order.sources[source]?.source ?? {};
      const goesOn =
        together > 1 && source === sources[run - 1] && record === (records[run - 1] ?? 0) + 1 && record % together > 0;
      if (!goesOn) blocks.push(run);
    }
    return blocks;
  }

  /** Adds what an epoch takes of a source's endless stream. */
  #takeFrom(source: number, epoch: number, runs: Runs): void {
    const quota = this.#quotas[source] ?? 0;
    let left = quota;
    for (const [record, first] of this.#stream(source, epoch * quota)) {
      const taken = Math.min(this.#pairsOf(source, record) - first, left);
      if (taken <= 0) continue;
      runs.sources.push(source);
      runs.records.push(record);
      runs.firsts.push(first);
      runs.counts.push(taken);
      left -= taken;
      if (left === 0) return;
    }
  }

  /** The records of a source's stream that end after pair `position`, with how many pairs of each come before that. */
  *#stream(source: number, position: number): Generator<readonly [record: number, first: number]> {
    const total = this.#totals[source] ?? 0;
    if (total === Number.POSITIVE_INFINITY) {
      const each = this.#pairsOf(source, 0);
      yield [Math.floor(position / each), position % each];
      for (let record = Math.floor(position / each) + 1; ; record++) yield [record, 0];
    }
    let skip = position % total;
    for (let pass = Math.floor(position / total); ; pass++) {
      for (const record of this.#permutation(source, pass)) {
        const count = this.#pairsOf(source, record);
        if (skip < count) yield [record, skip];
        skip = Math.max(0, skip - count);
      }
    }
  }

  #pairsOf(source: number, record: number): number {
    return this.#order.sources[source]?.source.pairsOf(record) ?? 0;
  }

  #permutation(source: number, pass: number): Uint32Array {
    const { length = 0, together = 1 } = this.#order.sources[source]?.source ?? {};
    const groups = new Uint32Array(Math.ceil(length / together)).map((_, index) => index);
    const { seed, stage } = this.#order;
    if (this.#order.shuffle) shuffle(groups, randomStream("records", seed, stage, source, pass));
    if (together === 1) return groups;
    const members = [...groups].flatMap((group) => Array.from({ length: together }, (_, at) => group * together + at));
    return Uint32Array.from(members.filter((record) => record < length));
  }
}

function totalPairs(source: OrderedSource["source"]): number {
  const { length } = source;
  if (length === Number.POSITIVE_INFINITY) return length;
  let total = 0;
  for (let record = 0; record < length; record++) total += source.pairsOf(record);
  return total;
}

/** -> how many pairs of each source an epoch takes; of one without end, those of whole groups of records. */
function quotasOf(sources: readonly OrderedSource[], totals: readonly number[]): number[] {
  const ends = totals.map(Number.isFinite);
  const quotas = sources.map(({ source, weight }, index) => {
    const total = totals[index] ?? 0;
    const quota = ends[index] ? Math.round(weight * total) : 0;
    if (quota > 0 || !ends[index]) return quota;
    const advice = total === 0 ? "take it out of the stage" : "raise the weight";
    const found = `weight ${weight} of ${total} pairs gives none in an epoch`;
    throw new VlRewardError("usage", `${source.name}: ${found}; ${advice}`);
  });
  const others = quotas.reduce((sum, quota) => sum + quota, 0) || endlessEpoch;
  return sources.map(({ source, weight }, index) => {
    if (ends[index]) return quotas[index] ?? 0;
    const each = source.together * source.pairsOf(0);
    return Math.max(1, Math.round((weight * others) / each)) * each;
  });
}

interface Runs {
  readonly sources: number[];
  readonly records: number[];
  readonly firsts: number[];
  readonly counts: number[];
}

/** The first run that ends after `position`. */
function runAt({ ends }: Epoch, position: number): number {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ends[middle] ?? 0) > position) high = middle;
    else low = middle + 1;
  }
  return low;
}
