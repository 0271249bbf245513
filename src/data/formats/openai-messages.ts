/**
 * @file Records around `messages`, OpenAI's: our own, and ms-swift's, whose last turn is the better answer and whose worse one
 * stands beside it. docs/records.md describes them.
 *
 *     {"messages": [..., {"role": "assistant", "content": "..."}]}
 *     {"messages": [...], "responses": ["...", "..."], "scores": [1, 0]}
 *     {"messages": [...], "chosen": "...", "rejected": "..."}
 *     {"messages": [..., {"role": "assistant", "content": "..."}], "rejected_response": "...", "images": ["..."]}
 */

import { z } from "zod";
import type { Message } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { type Beside, besideKeys, placeMedia, readBeside } from "../beside.ts";
import { readMessages, wireMessages } from "../messages.ts";
import { text } from "../parts.ts";
import { isConversation, readAnswer, wireAnswer } from "./answers.ts";
import { defineFormat } from "./format.ts";
import { answerOf, candidatesRow, conversationRow, pairOfConversations, pairRow, type Row } from "./row.ts";

const shape = {
  messages: wireMessages,
  responses: z.array(wireAnswer, "a list of answers").exactOptional(),
  scores: z.unknown().optional(), // a training's, which preference.ts reads
  chosen: wireAnswer.exactOptional(),
  rejected: wireAnswer.exactOptional(),
  system: text.exactOptional(),
  rejected_response: z.union([text, wireMessages], "a string or a list of messages").exactOptional(),
  rejected_messages: wireMessages.exactOptional(),
  rejected_images: besideKeys.images,
};
type Wire = z.infer<z.ZodObject<typeof shape & typeof besideKeys>>;

export const openaiMessages = defineFormat({
  name: "messages",
  title: "messages, as OpenAI, ms-swift and vl-reward write them",
  shape,
  detects: (record) => "messages" in record,
  read: readRow,
});

function readRow(wire: Wire): Row {
  const { responses, chosen, rejected, rejected_response, rejected_messages, rejected_images } = wire;
  const swift = [rejected_response, rejected_messages, rejected_images].some((value) => value !== undefined);
  const ways = [responses !== undefined, chosen !== undefined || rejected !== undefined, swift];
  if (ways.filter(Boolean).length > 1) {
    const names = ["responses", "chosen and rejected", "rejected_response"].filter((_, index) => ways[index]);
    throw invalid(`a record has either ${names.join(", or ")}, but not both`);
  }
  const beside = readBeside(wire);
  const messages = withSystem(wire.system, placeMedia(readMessages(wire.messages), beside));
  if (responses !== undefined) {
    return candidatesRow(
      messages,
      responses.map((answer, index) => readAnswer(answer, `responses[${index}]`)),
    );
  }
  if (swift) return swiftPair(wire, messages, beside);
  if (chosen === undefined && rejected === undefined) return conversationRow(messages);
  if (chosen === undefined || rejected === undefined) {
    const [has, lacks] = chosen === undefined ? ["rejected", "chosen"] : ["chosen", "rejected"];
    throw invalid(`${lacks}: expected an answer beside ${has}, found nothing`);
  }
  if (isConversation(chosen) || isConversation(rejected)) {
    const advice = "leave out messages, or give the answers as strings";
    throw invalid(`chosen and rejected are whole conversations, which hold the prompt; ${advice}`);
  }
  return pairRow(messages, readAnswer(chosen, "chosen"), readAnswer(rejected, "rejected"));
}

/** ms-swift: https://swift.readthedocs.io, "Custom dataset", RM and DPO. */
function swiftPair(wire: Wire, chosen: readonly Message[], beside: Beside): Row {
  const { rejected_response, rejected_messages, rejected_images } = wire;
  const names = ["messages", "rejected_messages"] as const;
  if (rejected_response !== undefined && rejected_messages !== undefined) {
    throw invalid("a record has either rejected_response or rejected_messages, but not both");
  }
  const worseBeside =
    rejected_images === undefined ? beside : { ...beside, image: readBeside({ images: rejected_images }).image };
  if (rejected_messages !== undefined) {
    const worse = withSystem(
      wire.system,
      placeMedia(readMessages(rejected_messages, "rejected_messages"), worseBeside),
    );
    return pairOfConversations(chosen, worse, names);
  }
  const answer =
    typeof rejected_response === "object"
      ? placeMedia(readMessages(rejected_response, "rejected_response"))
      : [answerOf(rejected_response ?? textOf(chosen.at(-1)))];
  const prompt =
    rejected_images === undefined
      ? chosen.slice(0, -1)
      : withSystem(wire.system, placeMedia(readMessages(wire.messages), worseBeside)).slice(0, -1);
  return pairOfConversations(chosen, [...prompt, ...answer], ["messages", "rejected_response"]);
}

const textOf = (message: Message | undefined): Message["content"] => message?.content ?? "";

/** @throws VlRewardError `invalid_record` where the messages have a system turn, too */
export function withSystem(system: string | undefined, messages: readonly Message[]): readonly Message[] {
  if (system === undefined || system === "") return messages;
  if (messages[0]?.role === "system")
    throw invalid("system: the messages have a system turn of their own; keep one of them");
  return [{ role: "system", content: system }, ...messages];
}

const invalid = (message: string): VlRewardError => new VlRewardError("invalid_record", message);
