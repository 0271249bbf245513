/**
 * @file Pairs whose two answers are whole conversations: TRL's with the prompt in both, and the sets that have the same keys
 * (UltraFeedback, Skywork-Reward-Preference, LLaVA-NeXT's and MM-RLHF's pairs). They say all that a record says, so
 * they may stand among TRL's records and among messages.
 *
 *     {"chosen": [...turns], "rejected": [...turns]}
 *     {"prompt": "...", "messages": [...], "chosen": [...turns], "rejected": [...turns]}
 */

import { z } from "zod";
import type { Message } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { type Beside, placeMedia, readBeside } from "../beside.ts";
import { readMessages, type WireMessage, wireMessages } from "../messages.ts";
import { text } from "../parts.ts";
import { defineFormat } from "./format.ts";
import { pairOfConversations, type Row, sameTurns } from "./row.ts";

export const conversationPairs = defineFormat({
  name: "conversation-pairs",
  title: "pairs of whole conversations (chosen, rejected)",
  among: ["trl", "messages"],
  shape: {
    chosen: wireMessages,
    rejected: wireMessages,
    prompt: z.union([text, wireMessages], "a string or a list of messages").exactOptional(),
    messages: wireMessages.exactOptional(), // UltraFeedback's, which repeat chosen
  },
  detects: ({ chosen, rejected }) => isWhole(chosen) && isWhole(rejected),
  read: ({ prompt, chosen, rejected, messages, ...columns }) => {
    const beside = readBeside(columns);
    const row = pairOfConversations(conversation(chosen, "chosen", beside), conversation(rejected, "rejected", beside));
    assertHas(row, prompt, messages, beside);
    return row;
  },
});

/** A list whose first turn is not an answer's, or that has several: it holds the prompt. One without turns could hold anything. */
function isWhole(value: unknown): boolean {
  if (!Array.isArray(value)) return false;
  if (value.length === 0) return true;
  const [first]: unknown[] = value;
  return (
    typeof first === "object" && first !== null && "role" in first && (value.length > 1 || first.role !== "assistant")
  );
}

const conversation = (turns: WireMessage[], key: string, beside: Beside): readonly Message[] =>
  placeMedia(readMessages(turns, key), beside);

/** What else the record says of the prompt has to be what the conversations say. */
function assertHas(
  row: Row,
  prompt: string | WireMessage[] | undefined,
  messages: WireMessage[] | undefined,
  beside: Beside,
): void {
  const [chosen] = row.answers;
  if (messages !== undefined && chosen !== undefined) {
    const found = conversation(messages, "messages", beside);
    if (!sameTurns(found, row.prompt) && !sameTurns(found, [...row.prompt, chosen])) {
      throw invalid("messages are neither the prompt of chosen and rejected nor chosen; leave them out");
    }
  }
  const isIn =
    prompt === undefined ||
    (typeof prompt === "string"
      ? row.prompt.some(({ content }) => textOf(content).trim() === prompt.trim())
      : sameTurns(conversation(prompt, "prompt", beside), row.prompt));
  if (!isIn) throw invalid("prompt is not the prompt of the conversations chosen and rejected; leave one of them out");
}

const textOf = (content: Message["content"]): string =>
  typeof content === "string" ? content : content.map((part) => (part.type === "text" ? part.text : "")).join("");

const invalid = (message: string): VlRewardError => new VlRewardError("invalid_record", message);
