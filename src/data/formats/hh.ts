/**
 * @file Dialogues in one string, as Anthropic's HH-RLHF writes them: "\n\nHuman: ...\n\nAssistant: ...".
 *
 *     {"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: go away"}
 */

import type { z } from "zod";
import { VlRewardError } from "../../errors.ts";
import { placeMedia, readBeside } from "../beside.ts";
import type { DraftMessage } from "../messages.ts";
import { text } from "../parts.ts";
import { defineFormat } from "./format.ts";
import { pairOfConversations } from "./row.ts";

const speaker = /(?:^|\n\n)(Human|Assistant):/;

/** Whether a text is a dialogue: it opens with the first speaker's name. */
export const startsDialogue = (value: unknown): boolean =>
  typeof value === "string" && /^\s*Human:/.test(value) && /\n\n(Human|Assistant):/.test(value);

const dialogue: z.ZodType<string> = text;

export const hh = defineFormat({
  name: "hh",
  title: "HH-RLHF's dialogues in strings",
  shape: { chosen: dialogue, rejected: dialogue },
  detects: ({ chosen, rejected, prompt }) => prompt === undefined && startsDialogue(chosen) && startsDialogue(rejected),
  read: ({ chosen, rejected, ...columns }) => {
    const beside = readBeside(columns);
    const turns = (value: string, key: string) => placeMedia(readDialogue(value, key), beside);
    return pairOfConversations(turns(chosen, "chosen"), turns(rejected, "rejected"));
  },
});

/**
 * The turns of a dialogue; the name of the one who is to speak next may stand at its end.
 *
 * @throws VlRewardError `invalid_roles` where it does not begin with a speaker's name
 */
export function readDialogue(value: string, key: string): DraftMessage[] {
  const [before = "", ...pieces] = value.replace(/^\s+/, "\n\n").split(speaker);
  if (before !== "")
    throw new VlRewardError("invalid_roles", `${key}: expected a dialogue that begins with "\\n\\nHuman:"`);
  const turns: DraftMessage[] = [];
  for (let index = 0; index < pieces.length; index += 2) {
    const isLast = index + 2 >= pieces.length;
    const content = (pieces[index + 1] ?? "").trim();
    const role = pieces[index] === "Human" ? "user" : "assistant";
    if (!(isLast && role === "assistant" && key === "prompt" && content === ""))
      turns.push({ role, content, path: key });
  }
  return turns;
}
