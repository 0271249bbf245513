/**
 * @file ShareGPT's conversations, with LLaMA-Factory's answers beside them; LLaVA's data without answers is the same.
 *
 *     {"conversations": [{"from": "human", "value": "<image>..."}], "chosen": {"from": "gpt", "value": "..."},
 *      "rejected": {"from": "gpt", "value": "..."}, "images": ["..."]}
 */

import { z } from "zod";
import type { Message, Role } from "../../conversation.ts";
import { quote, VlRewardError } from "../../errors.ts";
import { placeMedia, readBeside } from "../beside.ts";
import { assertUnimportant, type DraftMessage, readMessage, type WireMessage, wireMessage } from "../messages.ts";
import { text } from "../parts.ts";
import { jsonPath } from "../schema-errors.ts";
import { defineFormat } from "./format.ts";
import { withSystem } from "./openai-messages.ts";
import { answerOf, conversationRow, pairRow } from "./row.ts";

const spoken = z.looseObject(
  { from: z.string("a speaker, such as human or gpt"), value: text },
  "a turn: an object with from and value",
);
const turn = z.union([spoken, wireMessage], "a turn: an object with from and value");
const answer = z.union([text, turn, z.array(turn, "a list of turns").length(1, "one turn")], "a turn or a string");

const speakers: Readonly<Record<string, Role>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  assistant: "assistant",
  system: "system",
  observation: "tool",
  tool: "tool",
};

export const sharegpt = defineFormat({
  name: "sharegpt",
  title: "ShareGPT's conversations, as LLaMA-Factory and LLaVA read them",
  shape: {
    conversations: z.array(turn, "a list of turns").min(1, "at least one turn"),
    chosen: answer.exactOptional(),
    rejected: answer.exactOptional(),
    system: text.exactOptional(),
  },
  detects: (record) => "conversations" in record && !("messages" in record),
  read: ({ conversations, chosen, rejected, system, ...columns }) => {
    const turns = conversations.map((one, index) => draft(one, jsonPath(["conversations", index])));
    const messages = withSystem(system, placeMedia(turns, readBeside(columns)));
    if (chosen === undefined && rejected === undefined) return conversationRow(messages);
    if (chosen === undefined || rejected === undefined) {
      throw new VlRewardError(
        "invalid_record",
        `expected chosen and rejected, found ${chosen ? "chosen" : "rejected"} alone`,
      );
    }
    return pairRow(messages, readAnswer(chosen, "chosen"), readAnswer(rejected, "rejected"));
  },
});

function draft(one: z.infer<typeof turn>, path: string): DraftMessage {
  if (isMessage(one)) return readMessage(one, path);
  const { from, value, ...others } = one;
  assertUnimportant(others, path);
  const role = Object.hasOwn(speakers, from) ? speakers[from] : undefined;
  if (role !== undefined) return { role, content: value, path };
  const known = Object.keys(speakers).join(", ");
  throw new VlRewardError("invalid_roles", `${path}.from: expected ${known}, found ${quote(from)}`);
}

const isMessage = (one: z.infer<typeof turn>): one is WireMessage => "role" in one;

function readAnswer(given: z.infer<typeof answer>, key: string): Message {
  const one = Array.isArray(given) ? given[0] : given;
  if (typeof one === "string" || one === undefined) return answerOf(one ?? "");
  const read = draft(one, key);
  if (read.role === "assistant") return placeMedia([read])[0] ?? answerOf("");
  throw new VlRewardError("no_assistant_turn", `${key}: expected the assistant's turn, found the ${read.role}'s`);
}
