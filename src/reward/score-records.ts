/**
 * @file The road of a run: lines -> records -> groups -> the engine -> results, in the order of the lines.
 */

import { type ReadRecord, readRecord } from "../data/record.ts";
import { errorResult, type Result } from "../data/result.ts";
import type { Line } from "../files/json-lines.ts";
import { inOrder } from "../tasks/in-order.ts";
import { type RewardEngine, readAhead } from "./engine.ts";
import { groupOf, requestsFor, resultOf } from "./record-groups.ts";

/**
 * Scores all lines; a bad record's line gives its error. Rejects with the signal's reason, and where `lines` or `emit` do.
 *
 * @param options where relative paths inside the records start, and whether each token's reward is wanted
 * @param emit called once for each line, in order, as soon as the line and all before it are done; `endByte` is the line's
 */
export async function scoreRecords(
  lines: AsyncIterable<Line>,
  engine: RewardEngine,
  options: { readonly baseFolder: string; readonly perToken: boolean; readonly signal: AbortSignal },
  emit: (result: Result, endByte: number) => Promise<void> | void,
): Promise<void> {
  const { baseFolder, signal } = options;
  const requests = requestsFor(options.perToken);
  const scoreLine = async (line: Line, ended: AbortSignal): Promise<{ result: Result; endByte: number }> => {
    const { endByte } = line;
    const read = readLine(line);
    if ("error" in read) return { result: errorResult(read.id, read.error), endByte };
    const found = await engine.readGroup(groupOf(read.record, baseFolder), requests, { signal: ended });
    return { result: resultOf(read.id, read.record, found), endByte };
  };
  const results = inOrder(lines, scoreLine, {
    ahead: readAhead.groups,
    weight: ({ content }) => (typeof content === "string" ? content.length : 0),
    maxWeight: readAhead.characters,
    signal,
  });
  for await (const { result, endByte } of results) await emit(result, endByte);
}

function readLine({ number, content }: Line): ReadRecord {
  return typeof content === "string" ? readRecord(content, number) : { id: number, error: content };
}
