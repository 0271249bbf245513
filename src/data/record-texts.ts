/**
 * @file The texts of a record, whatever kind it is: its turns and its answers, for training a tokenizer. Pictures are
 * passed over, and so is everything that the chat template writes.
 */

import type { Message } from "../conversation.ts";
import { type LineResult, readRecordLine } from "./record-line.ts";

/** Reads one line; whatever is in it, this returns and does not throw. Texts have the order of the record. */
export function readRecordTexts(line: string, lineNumber: number): LineResult<readonly string[]> {
  return readRecordLine(line, lineNumber, ({ row }) => textsOf([...row.prompt, ...row.answers]));
}

function textsOf(turns: readonly Message[]): readonly string[] {
  return turns.flatMap(({ content }) =>
    typeof content === "string" ? [content] : content.flatMap((part) => (part.type === "text" ? [part.text] : [])),
  );
}
