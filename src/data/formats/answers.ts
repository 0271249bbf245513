/** @file An answer, however it is written: a text, parts, a turn, or a list with the one turn. */

import { z } from "zod";
import type { Message } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { placeMedia } from "../beside.ts";
import { readContent, readMessage, wireMessage } from "../messages.ts";
import { text, wirePart } from "../parts.ts";
import { answerOf } from "./row.ts";

const turns = z.array(wireMessage, "a list of messages");

/** Parts and turns are told apart by the first one's role. */
const list = z.union([turns, z.array(wirePart, "a list of parts")], "a list of messages or parts");

export const wireAnswer = z.union([text, wireMessage, list], "a string or a list of messages");
export type WireAnswer = z.infer<typeof wireAnswer>;
type WireTurns = z.infer<typeof turns>;

/** Whether an answer is a list of turns, and these are more than the answer: a conversation of its own. */
export function isConversation(answer: WireAnswer): answer is WireTurns {
  return isTurns(answer) && (answer.length > 1 || answer[0]?.role !== "assistant");
}

export function isTurns(answer: WireAnswer): answer is WireTurns {
  return Array.isArray(answer) && answer.every((one) => "role" in one);
}

/**
 * @param key where it stands in the record, for errors
 * @throws VlRewardError `no_assistant_turn` for a turn of somebody else, `invalid_record` for a conversation
 */
export function readAnswer(answer: WireAnswer, key: string): Message {
  if (typeof answer === "string") return answerOf(answer);
  if (!Array.isArray(answer)) return readTurn(answer, key);
  if (!isTurns(answer)) {
    return placed({ role: "assistant", content: readContent(answer, key), path: key });
  }
  const [only] = answer;
  if (only !== undefined && answer.length === 1) return readTurn(only, `${key}[0]`);
  throw new VlRewardError("invalid_record", `${key}: expected one turn, the answer, found ${answer.length}`);
}

function readTurn(turn: WireTurns[number], path: string): Message {
  const read = readMessage(turn, path);
  if (read.role === "assistant") return placed(read);
  throw new VlRewardError("no_assistant_turn", `${path}: expected an assistant turn, found the ${read.role}'s`);
}

function placed(turn: Parameters<typeof placeMedia>[0][number]): Message {
  const [message] = placeMedia([turn]);
  return message ?? answerOf("");
}
