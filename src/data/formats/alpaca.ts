/**
 * @file Alpaca's instructions, with LLaMA-Factory's answers beside them.
 *
 *     {"instruction": "...", "input": "...", "chosen": "...", "rejected": "..."}
 *     {"instruction": "...", "input": "...", "output": "..." or ["...", "..."]}
 */

import { z } from "zod";
import { VlRewardError } from "../../errors.ts";
import { placeMedia, readBeside } from "../beside.ts";
import type { DraftMessage } from "../messages.ts";
import { text } from "../parts.ts";
import { defineFormat } from "./format.ts";
import { withSystem } from "./openai-messages.ts";
import { answerOf, candidatesRow, conversationRow, pairRow } from "./row.ts";

export const alpaca = defineFormat({
  name: "alpaca",
  title: "Alpaca's instructions, as LLaMA-Factory reads them",
  shape: {
    instruction: text,
    input: text.exactOptional(),
    output: z.union([text, z.array(text, "a list of strings")], "a string or a list of strings").exactOptional(),
    chosen: text.exactOptional(),
    rejected: text.exactOptional(),
    system: text.exactOptional(),
    history: z
      .array(z.tuple([text, text], "a list of two strings: what was asked and answered"), "a list of pairs")
      .exactOptional(),
  },
  detects: (record) => "instruction" in record && !("messages" in record),
  read: ({ instruction, input, output, chosen, rejected, system, history = [], ...columns }) => {
    const asked = [instruction, input].filter((one) => one !== undefined && one !== "").join("\n");
    const turns: DraftMessage[] = [
      ...history.flatMap(([question, answer]): DraftMessage[] => [
        { role: "user", content: question, path: "history" },
        { role: "assistant", content: answer, path: "history" },
      ]),
      { role: "user", content: asked, path: "instruction" },
    ];
    const prompt = withSystem(system, placeMedia(turns, readBeside(columns)));
    if (chosen !== undefined && rejected !== undefined && (output === undefined || output.length === 0)) {
      return pairRow(prompt, answerOf(chosen), answerOf(rejected));
    }
    if (chosen !== undefined || rejected !== undefined) {
      throw new VlRewardError("invalid_record", "expected chosen and rejected, or output, but not both");
    }
    if (Array.isArray(output)) return candidatesRow(prompt, output.map(answerOf), "output");
    return conversationRow(output === undefined ? prompt : [...prompt, answerOf(output)]);
  },
});
