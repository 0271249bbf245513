/** @file Records as groups for the engine, and what the engine makes of them as results: the two ends of the road. */
import type { Message } from "../conversation.ts";
import type { PreferenceRecord } from "../data/record.ts";
import type { RecordId } from "../data/record-line.ts";
import { errorResult, type Result, scoreResult } from "../data/result.ts";
import type { Group } from "../engine/group.ts";
import { VlRewardError } from "../errors.ts";
import type { GroupResult } from "./engine.ts";

/** @param baseFolder where relative paths inside the record start */
export function groupOf(record: PreferenceRecord, baseFolder: string): Group {
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

/** A result that JSON cannot hold becomes an error. */
export function resultOf(id: RecordId, record: PreferenceRecord, scored: GroupResult): Result {
  if ("error" in scored) return errorResult(id, scored.error);
  try {
    return scoreResult(id, record, scored.scores);
  } catch (error) {
    if (error instanceof VlRewardError) return errorResult(id, error);
    throw error;
  }
}
