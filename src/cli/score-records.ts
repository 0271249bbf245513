/**
 * @file The road of a run: lines -> records -> groups -> the engine -> results, in the order of the lines.
 *
 * The engine sees only sound records and may read ahead; a bad record's result waits only for the records before it.
 */

import type { Line } from "../data/json-lines.ts";
import { type PreferenceRecord, type ReadRecord, readRecord } from "../data/record.ts";
import { errorResult, type Result, scoreResult } from "../data/result.ts";
import { VlRewardError } from "../errors.ts";
import type { Message } from "../models/conversation.ts";
import type { Group, GroupResult, RewardEngine } from "../reward/engine.ts";

interface Slot {
  readonly line: Line;
  result?: Result;
}

/**
 * Scores all lines.
 *
 * @param baseFolder where relative paths inside the records start
 * @param emit called once for each line, in order, as soon as the line and all before it are done
 */
export async function scoreRecords(
  lines: AsyncIterable<Line>,
  engine: RewardEngine,
  baseFolder: string,
  emit: (result: Result, line: Line) => void,
): Promise<void> {
  const unwritten: Slot[] = []; // in the order of the lines
  const inEngine: { slot: Slot; id: ReadRecord["id"]; record: PreferenceRecord }[] = [];

  const settle = (slot: Slot, result: Result) => {
    slot.result = result;
    for (let head = unwritten[0]; head?.result !== undefined; head = unwritten[0]) {
      unwritten.shift();
      emit(head.result, head.line);
    }
  };

  async function* groups(): AsyncGenerator<Group> {
    for await (const line of lines) {
      const slot: Slot = { line };
      unwritten.push(slot);
      const read = readLine(line);
      if ("error" in read) {
        settle(slot, errorResult(read.id, read.error));
      } else {
        inEngine.push({ slot, ...read });
        yield groupOf(read.record, baseFolder);
      }
    }
  }

  for await (const scored of engine.score(groups())) {
    const entry = inEngine.shift();
    if (entry === undefined) throw new Error("the engine gave more results than it was given groups");
    settle(entry.slot, resultOf(entry.id, entry.record, scored));
  }
}

function readLine({ number, content }: Line): ReadRecord {
  return typeof content === "string" ? readRecord(content, number) : { id: number, error: content };
}

function groupOf(record: PreferenceRecord, baseFolder: string): Group {
  const answer = (content: string): Message => ({ role: "assistant", content });
  switch (record.kind) {
    case "conversation":
      return { prefix: record.messages.slice(0, -1), branches: record.messages.slice(-1), baseFolder };
    case "candidates":
      return { prefix: record.messages, branches: record.responses.map(answer), baseFolder };
    case "pair":
      return { prefix: record.messages, branches: [answer(record.chosen), answer(record.rejected)], baseFolder };
  }
}

function resultOf(id: ReadRecord["id"], record: PreferenceRecord, scored: GroupResult): Result {
  if ("error" in scored) return errorResult(id, scored.error);
  try {
    return scoreResult(id, record, scored.scores);
  } catch (error) {
    if (error instanceof VlRewardError) return errorResult(id, error);
    throw error;
  }
}
