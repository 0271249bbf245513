/**
 * @file TRL's preference records, conversational or plain, with the prompt by itself or in both conversations; and those of the
 * sets that have the same keys (UltraFeedback, Skywork-Reward-Preference, LLaVA-NeXT's and MM-RLHF's pairs).
 *
 *     {"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "..."}]}],
 *      "images": ["..."], "chosen": [{"role": "assistant", "content": "..."}], "rejected": [...]}
 *     {"chosen": [...turns], "rejected": [...turns]}
 *     {"prompt": "...", "chosen": "...", "rejected": "..."}
 */

import { z } from "zod";
import type { Message } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { type Beside, placeMedia, readBeside } from "../beside.ts";
import { readMessages, type WireMessage, wireMessages } from "../messages.ts";
import { text } from "../parts.ts";
import { isConversation, isTurns, readAnswer, type WireAnswer, wireAnswer } from "./answers.ts";
import { defineFormat } from "./format.ts";
import { readDialogue, startsDialogue } from "./hh.ts";
import { conversationRow, pairOfConversations, pairRow, type Row, sameTurns } from "./row.ts";

export const trl = defineFormat({
  name: "trl",
  title: "TRL's records (prompt, chosen, rejected)",
  shape: {
    prompt: z.union([text, wireMessages], "a string or a list of messages").exactOptional(),
    chosen: wireAnswer.exactOptional(),
    rejected: wireAnswer.exactOptional(),
    completion: wireAnswer.exactOptional(),
    messages: wireMessages.exactOptional(), // UltraFeedback's, which repeat chosen
  },
  detects: (record) => {
    if (isWhole(record.chosen) && isWhole(record.rejected)) return true;
    const others = ["messages", "conversations", "instruction"].some((key) => key in record);
    return !others && ("prompt" in record || (!("question" in record) && ("chosen" in record || "rejected" in record)));
  },
  read: ({ prompt, chosen, rejected, completion, messages, ...columns }) => {
    const beside = readBeside(columns);
    if (chosen === undefined && rejected === undefined) return single(prompt, completion, beside);
    if (chosen === undefined || rejected === undefined || completion !== undefined) {
      const found = Object.entries({ chosen, rejected, completion }).flatMap(([key, value]) => (value ? [key] : []));
      throw invalid(`expected chosen and rejected, or completion, found ${found.join(" and ")} alone`);
    }
    if (isConversation(chosen) && isConversation(rejected)) {
      const row = pairOfConversations(
        conversation(chosen, "chosen", beside),
        conversation(rejected, "rejected", beside),
      );
      assertHas(row, prompt, messages, beside);
      return row;
    }
    if (isTurns(chosen) !== isTurns(rejected)) {
      throw invalid("chosen and rejected: expected two strings or two lists of messages, found one of each");
    }
    return pairRow(readPrompt(prompt, beside), readAnswer(chosen, "chosen"), readAnswer(rejected, "rejected"));
  },
});

/** A list whose first turn is not an answer's, or that has several: it holds the prompt. */
function isWhole(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  const [first]: unknown[] = value;
  return (
    typeof first === "object" && first !== null && "role" in first && (value.length > 1 || first.role !== "assistant")
  );
}

function single(prompt: string | WireMessage[] | undefined, completion: WireAnswer | undefined, beside: Beside): Row {
  const turns = readPrompt(prompt, beside);
  return conversationRow(completion === undefined ? turns : [...turns, readAnswer(completion, "completion")]);
}

function readPrompt(prompt: string | WireMessage[] | undefined, beside: Beside): readonly Message[] {
  if (prompt === undefined)
    throw invalid(
      "prompt: expected a string or a list of messages beside chosen and rejected (or messages), found nothing",
    );
  if (typeof prompt !== "string") return conversation(prompt, "prompt", beside);
  if (startsDialogue(prompt)) return placeMedia(readDialogue(prompt, "prompt"), beside);
  return placeMedia([{ role: "user", content: prompt, path: "prompt" }], beside);
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
