/**
 * @file Questions about a picture with two answers: RLAIF-V's rows, and MMPR's, where the question says by marks where its
 * pictures stand.
 *
 *     {"image": {"bytes": "...", "path": "..."}, "question": "...", "chosen": "...", "rejected": "..."}
 */

import { placeMedia, readBeside } from "../beside.ts";
import { text } from "../parts.ts";
import { defineFormat } from "./format.ts";
import { answerOf, pairRow } from "./row.ts";

export const question = defineFormat({
  name: "rlaif-v",
  title: "RLAIF-V's and MMPR's rows (question, chosen, rejected)",
  shape: { question: text, chosen: text, rejected: text },
  detects: (record) => "question" in record && !("messages" in record) && !("prompt" in record),
  read: ({ question: content, chosen, rejected, ...columns }) => {
    const prompt = placeMedia([{ role: "user", content, path: "question" }], readBeside(columns));
    return pairRow(prompt, answerOf(chosen), answerOf(rejected));
  },
});
