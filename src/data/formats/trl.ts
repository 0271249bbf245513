/**
 * @file TRL's preference records, conversational or plain, with the prompt by itself; conversation-pairs.ts has those with the
 * prompt in both conversations.
 *
 *     {"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "..."}]}],
 *      "images": ["..."], "chosen": [{"role": "assistant", "content": "..."}], "rejected": [...]}
 *     {"prompt": "...", "chosen": "...", "rejected": "..."}
 */

import { z } from "zod";
import type { Message } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { type Beside, placeMedia, readBeside } from "../beside.ts";
import { readMessages, type WireMessage, wireMessages } from "../messages.ts";
import { text } from "../parts.ts";
import { isTurns, readAnswer, type WireAnswer, wireAnswer } from "./answers.ts";
import { defineFormat } from "./format.ts";
import { readDialogue, startsDialogue } from "./hh.ts";
import { conversationRow, pairRow, type Row } from "./row.ts";

export const trl = defineFormat({
  name: "trl",
  title: "TRL's records (prompt, chosen, rejected)",
  shape: {
    prompt: z.union([text, wireMessages], "a string or a list of messages").exactOptional(),
    chosen: wireAnswer.exactOptional(),
    rejected: wireAnswer.exactOptional(),
    completion: wireAnswer.exactOptional(),
  },
  detects: (record) => {
    const others = ["messages", "conversations", "instruction"].some((key) => key in record);
    return !others && ("prompt" in record || (!("question" in record) && ("chosen" in record || "rejected" in record)));
  },
  read: ({ prompt, chosen, rejected, completion, ...columns }) => {
    const beside = readBeside(columns);
    if (chosen === undefined && rejected === undefined) return single(prompt, completion, beside);
    if (chosen === undefined || rejected === undefined || completion !== undefined) {
      const found = Object.entries({ chosen, rejected, completion }).flatMap(([key, value]) => (value ? [key] : []));
      throw invalid(`expected chosen and rejected, or completion, found ${found.join(" and ")} alone`);
    }
    if (isTurns(chosen) !== isTurns(rejected)) {
      throw invalid("chosen and rejected: expected two strings or two lists of messages, found one of each");
    }
    return pairRow(readPrompt(prompt, beside), readAnswer(chosen, "chosen"), readAnswer(rejected, "rejected"));
  },
});

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

const invalid = (message: string): VlRewardError => new VlRewardError("invalid_record", message);
