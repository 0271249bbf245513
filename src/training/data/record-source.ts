/**
 * @file Where records come from: a file (file-source.ts) or a generator (generated-source.ts). Which of them a step sees is
 * order.ts's to say.
 */

import type { Preference } from "../../data/preference.ts";

export interface RecordSource {
  /** For people: the path of a file, what a generator makes. */
  readonly name: string;
  /** How many records there are; Infinity where there is always another one, and then all have as many pairs. */
  readonly length: number;
  /** So many records, from each multiple on, are about the same picture and stay side by side. */
  readonly together: number;
  /** At most: a generator's record can turn out to have fewer when it is read, or none. */
  pairsOf(record: number): number;
  /** Of the prompt once and all answers: for dividing work, where that is not known about. */
  tokensOf(record: number): number;
  /** Equal for records that share their prompt, or at least its picture. */
  promptOf(record: number): number;
  /** Rejects with the code of a record that cannot be read. */
  read(record: number): Promise<SourceRecord>;
  /** Where a record stands, for messages: file and line. */
  placeOf(record: number): string;
  close(): Promise<void>;
}

/** A record as it is trained on. */
export interface SourceRecord {
  readonly preference: Preference;
  /** Where its relative paths start. */
  readonly baseFolder: string;
}

export async function closeSources(sources: readonly RecordSource[]): Promise<void> {
  await Promise.all(sources.map((source) => source.close()));
}
