/**
 * @file The texts of a record, whatever kind it is: its turns and its answers, for training a tokenizer. Pictures are
 * passed over, and so is everything that the chat template writes.
 */

import { z } from "zod";
import type { Message } from "../conversation.ts";
import { readMessages, text, wireMessages } from "./messages.ts";
import { type LineResult, readRecordLine } from "./record-line.ts";

const answer = z.union([text, wireMessages], "a string or a list of messages");

/** Any record that `score` or `train` reads, as far as it has text. */
const wireTexts = z.object(
  {
    messages: wireMessages.exactOptional(),
    chosen: answer.exactOptional(),
    rejected: answer.exactOptional(),
    responses: z.array(text, "a list of strings").exactOptional(),
  },
  "a record: an object with messages, responses, chosen or rejected",
);

/** Reads one line; whatever is in it, this returns and does not throw. Texts have the order of the record. */
export function readRecordTexts(line: string, lineNumber: number): LineResult<readonly string[]> {
  return readRecordLine(line, lineNumber, wireTexts, ({ messages = [], chosen, rejected, responses = [] }) => [
    ...(messages.length > 0 ? textsOf(readMessages(messages)) : []),
    ...responses,
    ...textsOfAnswer(chosen, "chosen"),
    ...textsOfAnswer(rejected, "rejected"),
  ]);
}

function textsOfAnswer(given: z.infer<typeof answer> | undefined, key: string): readonly string[] {
  if (given === undefined) return [];
  return typeof given === "string" ? [given] : textsOf(readMessages(given, key));
}

function textsOf(turns: readonly Message[]): readonly string[] {
  return turns.flatMap(({ content }) =>
    typeof content === "string" ? [content] : content.flatMap((part) => (part.type === "text" ? [part.text] : [])),
  );
}
