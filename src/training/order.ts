/**
 * @file Which pairs each step of a stage sees: a pure function of the seed, the stage and the step, so that a resumed run
 * needs nothing but the step's number.
 *
 * Each file is an endless stream of its pairs: one permutation of its records after the other (or its own order, round
 * and round), the pairs of a record side by side. An epoch takes the next round(weight x pairs) of each file's stream,
 * so that at weight 1 it holds every pair once, and at 0.5 a half, the next epoch the other half. What it has taken is
 * shuffled, records whole. Epochs follow each other without a seam and are cut into batches: a record may lie in two
 * batches, with some of its pairs in each.
 */

import { VlRewardError } from "../errors.ts";
import { randomStream, shuffle } from "./random.ts";

/** Pairs of one record that a batch holds. */
export interface BatchEntry {
  /** Index in the stage's files. */
  readonly file: number;
  /** Index in the file's usable records. */
  readonly record: number;
  /** Indices in the record's pairs; consecutive. */
  readonly pairs: readonly number[];
}

export interface StageOrder {
  readonly seed: number;
  /** Index of the stage in the run. */
  readonly stage: number;
  readonly files: readonly OrderedFile[];
  /** Pairs in a batch, over all processes. */
  readonly batchSize: number;
  /** False: the files one after the other, each in its own order. */
  readonly shuffle: boolean;
  readonly length: { readonly epochs: number } | { readonly steps: number };
}

export interface OrderedFile {
  /** How many pairs each usable record has. */
  readonly pairs: Uint32Array; // [records]
  /** How much of the file an epoch holds; 2 is every pair twice. */
  readonly weight: number;
  /** For errors. */
  readonly path: string;
}

/** The pairs of an epoch, in order: runs of pairs of one record. */
interface Epoch {
  readonly files: Uint32Array; // [runs]
  readonly records: Uint32Array; // [runs]
  readonly firsts: Uint32Array; // [runs], the run's first pair in its record
  readonly ends: Float64Array; // [runs], pairs of the epoch up to the end of this run
}

export class StagePlan {
  /** Steps of the stage. */
  readonly steps: number;
  readonly pairsPerEpoch: number;
  /** Pairs of all steps; less than steps x batchSize where the last batch is smaller. */
  readonly pairs: number;

  readonly #order: StageOrder;
  readonly #totals: readonly number[]; // pairs of each file
  readonly #quotas: readonly number[]; // of them in an epoch
  readonly #epochs = new Map<number, Epoch>(); // the two that were asked for last

  /** Throws `usage` where a file would give nothing. */
  constructor(order: StageOrder) {
    this.#order = order;
    this.#totals = order.files.map(({ pairs }) => pairs.reduce((sum, count) => sum + count, 0));
    this.#quotas = order.files.map(({ weight, path }, file) => {
      const total = this.#totals[file] ?? 0;
      const quota = Math.round(weight * total);
      if (quota > 0) return quota;
      const advice = total === 0 ? "take it out of the stage" : "raise the weight";
      throw new VlRewardError("usage", `${path}: weight ${weight} of ${total} pairs gives none in an epoch; ${advice}`);
    });
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
        entries.push({ file: epoch.files[run] ?? 0, record: epoch.records[run] ?? 0, pairs });
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
    const runs: Runs = { files: [], records: [], firsts: [], counts: [] };
    for (const file of this.#order.files.keys()) this.#takeFrom(file, number, runs);
    const order = Uint32Array.from(runs.files.keys());
    const { seed, stage } = this.#order;
    if (this.#order.shuffle) shuffle(order, randomStream("epoch", seed, stage, number));
    const ends = new Float64Array(order.length);
    let pairs = 0;
    for (const [place, run] of order.entries()) {
      pairs += runs.counts[run] ?? 0;
      ends[place] = pairs;
    }
    const inOrder = (values: readonly number[]) => order.map((run) => values[run] ?? 0);
    return { files: inOrder(runs.files), records: inOrder(runs.records), firsts: inOrder(runs.firsts), ends };
  }

  /** Adds what an epoch takes of a file's endless stream. */
  #takeFrom(file: number, epoch: number, runs: Runs): void {
    const counts = this.#order.files[file]?.pairs ?? new Uint32Array();
    const total = this.#totals[file] ?? 0;
    let left = this.#quotas[file] ?? 0;
    let pass = Math.floor((epoch * left) / total);
    let skip = (epoch * left) % total;
    for (; left > 0; pass++) {
      for (const record of this.#permutation(file, pass)) {
        const count = counts[record] ?? 0;
        const taken = Math.min(count - skip, left);
        if (taken > 0) {
          runs.files.push(file);
          runs.records.push(record);
          runs.firsts.push(skip);
          runs.counts.push(taken);
          left -= taken;
          if (left === 0) return;
        }
        skip = Math.max(0, skip - count);
      }
    }
  }

  #permutation(file: number, pass: number): Uint32Array {
    const records = new Uint32Array(this.#order.files[file]?.pairs.length ?? 0).map((_, index) => index);
    const { seed, stage } = this.#order;
    if (this.#order.shuffle) shuffle(records, randomStream("records", seed, stage, file, pass));
    return records;
  }
}

interface Runs {
  readonly files: number[];
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
