/** @file Drafts of before, in this browser alone. */

import type { CandidatesRecord } from "../api.ts";
import { type Draft, wholeRecord } from "./draft.ts";

export interface Entry {
  readonly at: number;
  readonly record: CandidatesRecord;
  readonly best: string;
}

const key = "vl-reward.history";
const [mostEntries, mostCharacters] = [30, 2_000_000];

export function entries(): readonly Entry[] {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "[]");
  } catch {
    return [];
  }
}

/** Adds a draft, unless it is the last one already; what is too large for the browser's store goes, the oldest first. */
export async function remember(draft: Draft, best: string): Promise<void> {
  const record = await wholeRecord(draft);
  const before = entries().filter((entry) => JSON.stringify(entry.record) !== JSON.stringify(record));
  let kept = [{ at: Date.now(), record, best }, ...before].slice(0, mostEntries);
  while (kept.length > 0 && JSON.stringify(kept).length > mostCharacters) kept = kept.slice(0, -1);
  try {
    localStorage.setItem(key, JSON.stringify(kept));
  } catch {
    localStorage.removeItem(key); // a store that is full or switched off
  }
}

export const forget = (): void => localStorage.removeItem(key);
