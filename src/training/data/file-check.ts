/**
 * @file The check of a file: every record is looked at once before training begins, so that hours later none can be found
 * unreadable or too long.
 *
 * The check reads headers of pictures and videos and does not fetch addresses: what they hold, and how long a record
 * with one is, is not known until it is prepared.
 */

import path from "node:path";
import { hashShare } from "../../data/canonical.ts";
import { GrowingArray } from "../../data/growing-array.ts";
import { OneFormat } from "../../data/one-format.ts";
import type { ReadPreference } from "../../data/preference.ts";
import { PreferenceFile } from "../../data/preference-file.ts";
import { type ErrorCode, VlRewardError } from "../../errors.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import type { Processor } from "../../models/processor.ts";
import { inOrder } from "../../tasks/in-order.ts";
import { CheckPool } from "./check-pool.ts";
import { badOutcome, checkPreference, type LengthRule, type Outcome } from "./record-check.ts";

/** The usable records of a file. Plain data, so that one process can check for all. */
export interface CheckedFile {
  readonly path: string;
  /** Of the whole file: the same records are read later. */
  readonly sha256: string;
  readonly records: Uint32Array; // [usable], their indices among the file's records
  readonly pairs: Uint32Array; // [usable], pairs of each
  /** Of the prompt once and all answers; without what lies behind addresses. */
  readonly tokens: Uint32Array; // [usable]
  readonly droppedTurns: Uint32Array; // [usable], oldest turns that are left out of the prompt
  readonly prompts: Float64Array; // [usable], equal for equal prompts
}

export interface CheckOptions extends LengthRule {
  /** Counts here, or in threads. */
  readonly counter: Processor | CheckPool;
  /** What records may have read, where it counts here; threads know theirs. */
  readonly policy?: MediaPolicy;
  readonly signal: AbortSignal;
  readonly onProgress: (done: CheckProgress) => void;
}

export interface CheckProgress {
  readonly path: string;
  /** Of this file. */
  readonly records: number;
  readonly totalRecords: number;
  readonly bad: number;
}

export interface BadRecord {
  /** Counted from 1, as editors do. */
  readonly line: number;
  readonly code: ErrorCode;
  readonly message: string;
}

export interface FileReport {
  readonly path: string;
  /** What the records are written as; undefined where none could be read. */
  readonly format: string | undefined;
  /** Lines that are not blank, good and bad. */
  readonly records: number;
  readonly usable: number;
  /** Of the usable records. */
  readonly pairs: number;
  readonly bad: { readonly count: number; readonly first: readonly BadRecord[] };
  readonly tooLong: { readonly dropped: number; readonly cut: number; readonly refused: number };
  /** Usable records with a picture or video behind an address, whose length is not known. */
  readonly lengthUnknown: number;
  /** Tokens of the longest usable conversation. */
  readonly longest: number;
}

const reportedBad = 100;
const recordsAhead = 128; // most of them wait for a disk or a thread

/** Rejects with `input_unreadable`, or the signal's reason when that aborts. Bad records are in the report. */
export async function checkFile(
  filePath: string,
  options: CheckOptions,
): Promise<{ readonly checked: CheckedFile; readonly report: FileReport }> {
  const file = await PreferenceFile.open(filePath, options.signal);
  try {
    const found = new Findings(file);
    const formats = new OneFormat();
    let record = 0;
    const outcomes = inOrder(
      file.records(options.signal),
      (read) => checkRecord(formats.check(read, file.lineOf(record++)), path.dirname(filePath), options),
      {
        ahead: recordsAhead,
        weight: () => 0,
        maxWeight: 0,
        signal: options.signal,
      },
    );
    for await (const outcome of outcomes) {
      found.add(outcome);
      options.onProgress({ path: filePath, ...found.progress });
    }
    return { checked: found.checked(), report: { format: formats.format, ...found.report() } };
  } finally {
    await file.close();
  }
}

/**
 * Throws when a run must not begin: there are bad records and none may be skipped, a record is too long and that is an
 * error, or a file has nothing to learn from. The code is the first bad record's.
 *
 * @param longest what a conversation may have, in words
 */
export function assertTrainable(reports: readonly FileReport[], onBadRecord: "error" | "skip", longest: string): void {
  for (const report of reports) {
    const { path: file, records, bad, tooLong } = report;
    const [first] = bad.first;
    if (first && (onBadRecord === "error" || tooLong.refused > 0)) {
      const advice =
        tooLong.refused > 0
          ? "shorten them, or set too_long to drop or cut"
          : "correct them, or set on_bad_record to skip";
      const refused = bad.first.find(({ code }) => onBadRecord === "error" || code === "sequence_too_long") ?? first;
      const count = onBadRecord === "error" ? bad.count : tooLong.refused;
      const found = `${count} of ${records} records cannot be used, first line ${refused.line}: ${refused.message}`;
      throw new VlRewardError(refused.code, `${file}: ${found}; ${advice}`);
    }
    if (report.usable === 0) throw nothingUsable(report, longest);
  }
}

/** Of what made records unusable, only that which did. */
function nothingUsable({ path: file, records, bad, tooLong }: FileReport, longest: string): VlRewardError {
  const [first] = bad.first;
  if (records === 0) {
    return new VlRewardError("invalid_record", `${file} is empty; expected JSON Lines of preference pairs`);
  }
  if (!first) {
    const all = records === 1 ? "its one record is" : `all ${records} records are`;
    const message = `${file}: ${all} longer than ${longest}, and so none is left; expected shorter ones`;
    return new VlRewardError("sequence_too_long", message);
  }
  const dropped = tooLong.dropped > 0 ? `, and ${tooLong.dropped} are longer than ${longest}` : "";
  const found = `${bad.count} of ${records} records cannot be used, first line ${first.line}: ${first.message}${dropped}`;
  return new VlRewardError(first.code, `${file}: none is left: ${found}`);
}

async function checkRecord(read: ReadPreference, baseFolder: string, options: CheckOptions): Promise<Outcome> {
  if ("error" in read) return badOutcome(read.error);
  const { counter, signal, policy } = options;
  return counter instanceof CheckPool
    ? counter.check(read.preference, options, baseFolder)
    : checkPreference(read.preference, counter, options, { baseFolder, signal, ...(policy && { policy }) });
}

/** Gathers outcomes in the order of the file's records. */
class Findings {
  readonly #file: PreferenceFile;
  readonly #records = new GrowingArray(Uint32Array);
  readonly #pairs = new GrowingArray(Uint32Array);
  readonly #tokens = new GrowingArray(Uint32Array);
  readonly #droppedTurns = new GrowingArray(Uint32Array);
  readonly #prompts = new GrowingArray(Float64Array);
  readonly #bad: BadRecord[] = [];
  readonly #counts = {
    records: 0,
    usable: 0,
    pairs: 0,
    bad: 0,
    dropped: 0,
    cut: 0,
    refused: 0,
    unknown: 0,
    longest: 0,
  };

  constructor(file: PreferenceFile) {
    this.#file = file;
  }

  get progress() {
    return { records: this.#counts.records, totalRecords: this.#file.length, bad: this.#counts.bad };
  }

  add(outcome: Outcome): void {
    const record = this.#counts.records++;
    if (outcome.kind === "usable") this.#addUsable(record, outcome);
    else if (outcome.kind === "dropped") this.#counts.dropped++;
    else {
      const { code, message } = outcome;
      this.#counts.bad++;
      if (code === "sequence_too_long") this.#counts.refused++;
      if (this.#bad.length < reportedBad) this.#bad.push({ line: this.#file.lineOf(record) + 1, code, message });
    }
  }

  #addUsable(record: number, outcome: Extract<Outcome, { kind: "usable" }>): void {
    const { pairs, tokens, longest, droppedTurns, prompt, lengthKnown } = outcome;
    this.#records.push(record);
    this.#pairs.push(pairs);
    this.#tokens.push(tokens);
    this.#droppedTurns.push(droppedTurns);
    this.#prompts.push(prompt);
    const counts = this.#counts;
    counts.usable++;
    counts.pairs += pairs;
    counts.longest = Math.max(counts.longest, longest);
    if (droppedTurns > 0) counts.cut++;
    if (!lengthKnown) counts.unknown++;
  }

  checked(): CheckedFile {
    return {
      path: this.#file.path,
      sha256: this.#file.sha256,
      records: this.#records.taken(),
      pairs: this.#pairs.taken(),
      tokens: this.#tokens.taken(),
      droppedTurns: this.#droppedTurns.taken(),
      prompts: this.#prompts.taken(),
    };
  }

  report(): Omit<FileReport, "format"> {
    const { records, usable, pairs, bad, dropped, cut, refused, unknown, longest } = this.#counts;
    return {
      path: this.#file.path,
      records,
      usable,
      pairs,
      bad: { count: bad, first: this.#bad },
      tooLong: { dropped, cut, refused },
      lengthUnknown: unknown,
      longest,
    };
  }
}

/**
 * Holds out a part of the records for validation: those whose prompt's hash lies below `fraction`. Equal prompts, in
 * whatever file, stand on one side, and it does not depend on the order of records or on the seed.
 */
export function holdOut(
  files: readonly CheckedFile[],
  fraction: number,
): { readonly training: CheckedFile[]; readonly validation: CheckedFile[] } {
  const isHeldOut = (hash: number): boolean => hashShare(hash) < fraction;
  return {
    training: files.map((file) => selected(file, (hash) => !isHeldOut(hash))),
    validation: files.map((file) => selected(file, isHeldOut)),
  };
}

function selected(file: CheckedFile, wanted: (promptHash: number) => boolean): CheckedFile {
  const keep = (_: number, index: number): boolean => wanted(file.prompts[index] ?? 0);
  return {
    ...file,
    records: file.records.filter(keep),
    pairs: file.pairs.filter(keep),
    tokens: file.tokens.filter(keep),
    droppedTurns: file.droppedTurns.filter(keep),
    prompts: file.prompts.filter(keep),
  };
}
