/** @file The validation set, measured by all processes together: how many pairs are told apart, overall and by source. */

import type { BatchEntry } from "./data/order.ts";
import type { PreparePool } from "./data/prepare-pool.ts";
import { type Item, inStreams, itemsOf, type PreparedRecord, preparedRecords } from "./data/prepared-records.ts";
import type { RecordSource } from "./data/record-source.ts";
import type { LossSettings } from "./objectives/objective.ts";
import { pairLoss } from "./objectives/pairwise.ts";
import { type Evaluation, type PairResult, summarise } from "./output/metrics.ts";
import type { GroupedPass } from "./step/grouped-pass.ts";
import { sumOver, type World } from "./world.ts";

export interface EvaluationOptions {
  readonly pass: GroupedPass;
  readonly pool: PreparePool;
  readonly world: World;
  readonly tokenBudget: number;
  readonly maxLength: number;
  readonly loss: LossSettings;
  /** Those of some records that can be used; throws where all have to be. */
  readonly usable: (records: readonly PreparedRecord[]) => Extract<PreparedRecord, { pairs: unknown }>[];
}

/** All processes come here together, and find the same. */
export async function evaluate(
  sources: readonly RecordSource[],
  options: EvaluationOptions,
): Promise<Pick<Evaluation, "overall" | "sources">> {
  const { pass, pool, world, tokenBudget, maxLength, loss, usable } = options;
  const items = itemsOf(everyPair(sources), sources);
  const starts = startsOf(items);
  const total = items.reduce((sum, { entry }) => sum + entry.pairs.length, 0);
  const results = new Float64Array(3 * total); // of each pair: whether it was measured, margin, loss
  const mine = items.filter((_, index) => index % world.worldSize === world.rank);
  const records = preparedRecords(mine, { pool, maxLength, answers: "all" });
  for await (const stream of inStreams(records, mine.length, tokenBudget)) {
    const used = usable(stream);
    const rewards = pass.evaluate(used.map(({ pairs }) => pairs));
    for (const [index, { item, pairs }] of used.entries()) {
      const first = starts.get(item) ?? 0;
      for (const [offset, pair] of pairs.pairs.entries()) {
        const chosen = rewards[index]?.[pair.chosen] ?? Number.NaN;
        const rejected = rewards[index]?.[pair.rejected] ?? Number.NaN;
        results.set([1, chosen - rejected, pairLoss(chosen, rejected, pair.margin, loss)], 3 * (first + offset));
      }
    }
  }
  const all = sumOver(world, results);
  const found: PairResult[] = [];
  for (const item of items) {
    const { entry } = item;
    const { source } = (await item.source.read(entry.record)).preference;
    const first = starts.get(item) ?? 0;
    for (let pair = first; pair < first + entry.pairs.length; pair++) {
      const [measured = 0, margin = 0, pairLoss = 0] = all.subarray(3 * pair, 3 * pair + 3);
      if (measured > 0) found.push({ source, margin, loss: pairLoss });
    }
  }
  return summarise(found);
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
