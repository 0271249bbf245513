/**
 * @file The road of a run that scores: lines -> records -> groups -> the engine -> results, in the order of the lines.
 */

import { readRecord } from "../data/record.ts";
import { errorResult, type Result } from "../data/result.ts";
import type { Line } from "../files/json-lines.ts";
import type { RewardEngine } from "./engine.ts";
import { type Emit, lineReader, linesInOrder } from "./lines-in-order.ts";
import { groupOf, requestsFor, resultOf } from "./record-groups.ts";

/**
 * Scores all lines; a bad record's line gives its error. Rejects with the signal's reason, and where `lines` or `emit` do.
 * -> the format of the records; undefined where none could be read
 *
 * @param options where relative paths inside the records start, and whether each token's reward is wanted
 */
export async function scoreRecords(
  lines: AsyncIterable<Line>,
  engine: RewardEngine,
  options: { readonly baseFolder: string; readonly perToken: boolean; readonly signal: AbortSignal },
  emit: Emit<Result>,
): Promise<string | undefined> {
  const reader = lineReader(readRecord);
  const requests = requestsFor(options.perToken);
  const scoreLine = async (line: Line, signal: AbortSignal): Promise<Result> => {
    const read = reader.read(line);
    if ("error" in read) return errorResult(read.id, read.error);
    const found = await engine.readGroup(groupOf(read.record, options.baseFolder), requests, { signal });
    return resultOf(read.id, read.record, found);
  };
  await linesInOrder(lines, scoreLine, options.signal, emit);
  return reader.format();
}
