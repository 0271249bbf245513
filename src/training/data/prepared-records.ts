/** @file Records on their way to the model: read and prepared ahead of the arithmetic, in order, and put together to streams. */

import { promptTokens } from "../../engine/pass/plan.ts";
import { VlRewardError } from "../../errors.ts";
import { inOrder } from "../../tasks/in-order.ts";
import type { Room, Stay } from "../../tasks/room.ts";
import type { PreparedPairs } from "../step/grouped-pass.ts";
import type { BatchEntry } from "./order.ts";
import type { Place, PreparePool } from "./prepare-pool.ts";
import type { RecordSource } from "./record-source.ts";

/** Pairs of a record. */
export interface Item {
  readonly source: RecordSource;
  readonly entry: BatchEntry;
}

/** A record, ready for the model, or why it cannot be used; or one that has none of the pairs that were asked for. */
export type PreparedRecord =
  | {
      readonly item: Item;
      readonly pairs: PreparedPairs;
      readonly source: string | undefined;
      /** Of its pictures and videos in the room, until it has been used. */
      readonly stay: Stay;
    }
  | { readonly item: Item; readonly empty: true }
  | { readonly item: Item; readonly error: VlRewardError };

/** Records that are under way at once: most of them wait, for a disk or an address. */
const recordsAhead = 32;

export interface PrepareOptions {
  readonly pool: PreparePool;
  /** For pictures and videos of this run alone: in a shared one validation would wait for what training has ready. */
  readonly room: Room;
  /** Tokens of a conversation; the check before training did not see what lies behind addresses. */
  readonly maxLength: number;
  /** Whether rejected answers are needed, too. */
  readonly answers: "all" | "chosen";
}

/** Prepares items on the pool's threads, in order. Leaving the loop stops it. */
export function preparedRecords(items: Iterable<Item>, options: PrepareOptions): AsyncGenerator<PreparedRecord, void> {
  let order = 0; // of the items: one whose pictures come late is first in line for all that
  const work = async (item: Item, signal: AbortSignal): Promise<PreparedRecord> => {
    const stay = options.room.book(order++);
    let isUsable = false;
    try {
      const record = await prepare(item, options, { stay, signal });
      isUsable = "pairs" in record;
      return record;
    } finally {
      if (!isUsable) stay.leave();
    }
  };
  // Nothing weighs here: what does is pixels, and they wait for room once their sizes are known.
  return inOrder(items, work, { ahead: recordsAhead, weight: () => 0, maxWeight: 0 });
}

/**
 * Takes `count` records and gives them out as many at a time as one stream holds. Their room is given back when the next stream
 * is asked for: no record may be used longer.
 */
export async function* inStreams(
  records: AsyncGenerator<PreparedRecord, void>,
  count: number,
  tokenBudget: number,
): AsyncGenerator<PreparedRecord[], void> {
  const held: PreparedRecord[] = []; // taken, and their room not given back
  let filled = 0;
  try {
    for (let taken = 0; taken < count; taken++) {
      const { value: record, done } = await records.next();
      if (done) break;
      const tokens = "pairs" in record ? promptTokens(record.pairs.prompt) : 0;
      held.push(record);
      if (held.length > 1 && filled + tokens > tokenBudget) {
        yield held.slice(0, -1);
        leave(held.splice(0, held.length - 1));
        filled = 0;
      }
      filled += tokens;
      if ("pairs" in record) record.stay.giveWay(); // the stream may need the next one, too
    }
    if (held.length > 0) yield [...held];
  } finally {
    leave(held);
  }
}

function leave(records: readonly PreparedRecord[]): void {
  for (const record of records) if ("pairs" in record) record.stay.leave();
}

/** Where a record stands, for people. */
export const placeOf = ({ source, entry }: Item): string => source.placeOf(entry.record);

/** The entries of a batch with their sources. */
export const itemsOf = (batch: readonly BatchEntry[], sources: readonly RecordSource[]): Item[] =>
  batch.flatMap((entry) => {
    const source = sources[entry.source];
    return source ? [{ source, entry }] : [];
  });

/** A preference that has been read but holds something that cannot be used is no reason to stop the others. */
async function prepare(
  item: Item,
  { pool, maxLength, answers }: PrepareOptions,
  place: Place,
): Promise<PreparedRecord> {
  const { preference, baseFolder } = await item.source.read(item.entry.record);
  const pairs = item.entry.pairs.map((index) => preference.pairs[index]).filter((pair) => pair !== undefined);
  if (pairs.length === 0) return { item, empty: true };
  const chosen = pairs.map((pair) => pair.chosen);
  const used = [...new Set(answers === "chosen" ? chosen : pairs.flatMap((pair) => [pair.chosen, pair.rejected]))];
  const branches = used.map((index) => preference.answers[index]).filter((answer) => answer !== undefined);
  try {
    const prompt = await pool.prepare({ prefix: preference.prefix, branches, baseFolder }, place);
    const longest = Math.max(...prompt.branches.map(({ ids }) => prompt.prefix.ids.length + ids.length));
    if (longest > maxLength) {
      throw new VlRewardError("sequence_too_long", `it has ${longest} tokens, at most ${maxLength} are trained on`);
    }
    const branchOf = (answer: number): number => used.indexOf(answer);
    const inBranches =
      answers === "chosen"
        ? []
        : pairs.map((pair) => ({
            ...pair,
            chosen: branchOf(pair.chosen),
            rejected: branchOf(pair.rejected),
          }));
    const right = [...new Set(chosen)].map((answer) => ({
      branch: branchOf(answer),
      weight: chosen.filter((other) => other === answer).length,
    }));
    const { referenceLogProbs: known } = preference;
    const referenceLogProbs = known && used.map((index) => known[index] ?? Number.NaN);
    return {
      item,
      pairs: { prompt, pairs: inBranches, right, referenceLogProbs },
      source: preference.source,
      stay: place.stay,
    };
  } catch (error) {
    if (error instanceof VlRewardError && error.code !== "internal_error") return { item, error };
    throw error;
  }
}
