/** @file The validation set, measured by all processes together: how many pairs are told apart, overall and by source. */

import { VlRewardError } from "../errors.ts";
import type { Room } from "../tasks/room.ts";
import type { BatchEntry } from "./data/order.ts";
import type { PreparePool } from "./data/prepare-pool.ts";
import { type Item, inStreams, itemsOf, type PreparedRecord, preparedRecords } from "./data/prepared-records.ts";
import type { RecordSource } from "./data/record-source.ts";
import { pairLoss } from "./objectives/pairwise.ts";
import type { LossSettings } from "./objectives/reading.ts";
import { type Evaluation, type PairResult, summarise } from "./output/metrics.ts";
import type { GroupedPass } from "./step/grouped-pass.ts";
import { sumOver, textsOf, type World } from "./world.ts";

type UsableRecord = Extract<PreparedRecord, { pairs: unknown }>;

export interface EvaluationOptions {
  readonly pass: GroupedPass;
  readonly pool: PreparePool;
  /** For pictures and videos of this evaluation's records. */
  readonly room: Room;
  readonly world: World;
  readonly tokenBudget: number;
  readonly maxLength: number;
  readonly loss: LossSettings;
  /** Those of some records that can be used; throws a VlRewardError where all have to be. */
  readonly usable: (records: readonly PreparedRecord[]) => UsableRecord[];
  /** Asked between two streams: whether to leave off. */
  readonly isStopping: () => boolean;
}

/** How an evaluation ended, the same in all processes. */
export type EvaluationOutcome =
  | ({ readonly kind: "measured" } & Pick<Evaluation, "overall" | "sources">)
  /** One of them was asked to stop. */
  | { readonly kind: "stopped" }
  /** A record cannot be used; `error` says which, where it is one of this process's. */
  | { readonly kind: "failed"; readonly error: VlRewardError | undefined };

/** All processes come here together. Rejects where records cannot even be read. */
export async function evaluate(
  sources: readonly RecordSource[],
  options: EvaluationOptions,
): Promise<EvaluationOutcome> {
  const { world } = options;
  const items = itemsOf(everyPair(sources), sources);
  const starts = startsOf(items);
  const total = items.reduce((sum, { entry }) => sum + entry.pairs.length, 0);
  const own = new Findings(total);
  const mine = items.filter((_, index) => index % world.worldSize === world.rank);
  const { stopped, error } = await measure(mine, options, (record, rewards) => {
    own.add(starts.get(record.item) ?? 0, record, rewards, options.loss);
  });
  const [failures = 0, stops = 0] = sumOver(world, Float64Array.of(Number(error !== undefined), Number(stopped)));
  if (failures > 0) return { kind: "failed", error };
  if (stops > 0) return { kind: "stopped" };

  const all = sumOver(world, own.numbers);
  const names = textsOf(world, own.names).map((text): string[] => JSON.parse(text));
  const found: PairResult[] = [];
  for (const [index, item] of items.entries()) {
    const first = starts.get(item) ?? 0;
    for (let pair = first; pair < first + item.entry.pairs.length; pair++) {
      const [measured = 0, margin = 0, loss = 0, name = 0] = all.subarray(4 * pair, 4 * pair + 4);
      if (measured > 0) found.push({ source: names[index % world.worldSize]?.[name - 1], margin, loss });
    }
  }
  return { kind: "measured", ...summarise(found) };
}

/** What one process finds of all pairs: numbers that the processes can add, because each pair is one's alone. */
class Findings {
  readonly numbers: Float64Array; // [4 * pairs]: whether it was measured, margin, loss, number of its source's name
  readonly #names = new Map<string | undefined, number>([[undefined, 0]]);

  constructor(pairs: number) {
    this.numbers = new Float64Array(4 * pairs);
  }

  /** Of the sources, as JSON, in the order of their numbers from 1 on. */
  get names(): string {
    return JSON.stringify([...this.#names.keys()].slice(1));
  }

  /** @param first pairs of the whole set that come before the record's */
  add(first: number, { pairs, source }: UsableRecord, rewards: readonly number[], loss: LossSettings): void {
    const name = this.#names.get(source) ?? this.#names.size;
    this.#names.set(source, name);
    for (const [offset, pair] of pairs.pairs.entries()) {
      const chosen = rewards[pair.chosen] ?? Number.NaN;
      const rejected = rewards[pair.rejected] ?? Number.NaN;
      const values = [1, chosen - rejected, pairLoss(chosen, rejected, pair.margin, loss), name];
      this.numbers.set(values, 4 * (first + offset));
    }
  }
}

/** Scores this process's records, until one cannot be used or it is asked to stop. */
async function measure(
  mine: readonly Item[],
  { pass, pool, room, maxLength, tokenBudget, usable, isStopping }: EvaluationOptions,
  found: (record: UsableRecord, rewards: readonly number[]) => void,
): Promise<{ stopped: boolean; error?: VlRewardError }> {
  const records = preparedRecords(mine, { pool, room, maxLength, answers: "all" });
  try {
    for await (const stream of inStreams(records, mine.length, tokenBudget)) {
      if (isStopping()) return { stopped: true };
      const used = usableOf(stream, usable);
      if (used instanceof VlRewardError) return { stopped: false, error: used };
      const rewards = pass.evaluate(used.map(({ pairs }) => pairs));
      for (const [index, record] of used.entries()) found(record, rewards[index] ?? []);
    }
    return { stopped: false };
  } finally {
    await records.return();
  }
}

function usableOf(
  stream: readonly PreparedRecord[],
  usable: EvaluationOptions["usable"],
): UsableRecord[] | VlRewardError {
  try {
    return usable(stream);
  } catch (error) {
    if (error instanceof VlRewardError) return error;
    throw error;
  }
}

function everyPair(sources: readonly RecordSource[]): BatchEntry[] {
  return sources.flatMap((source, index) =>
    Array.from({ length: source.length }, (_, record) => ({
      source: index,
      record,
      pairs: Array.from({ length: source.pairsOf(record) }, (_, pair) => pair),
    })),
  );
}

/** How many pairs come before each item's. */
function startsOf(items: readonly Item[]): Map<Item, number> {
  let pairs = 0;
  return new Map(
    items.map((item) => {
      const start = pairs;
      pairs += item.entry.pairs.length;
      return [item, start];
    }),
  );
}
