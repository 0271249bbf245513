/**
 * @file The formats that records are read in, and which of them a record is of. A new one is a file of this folder and a
 * line here.
 */

import { quote, VlRewardError } from "../../errors.ts";
import { describe } from "../schema-errors.ts";
import { carriesMedia, isEmpty, mediaAdvice, metaKey } from "../unread.ts";
import { alpaca } from "./alpaca.ts";
import { conversationPairs } from "./conversation-pairs.ts";
import type { RecordFormat } from "./format.ts";
import { hh } from "./hh.ts";
import { openaiMessages } from "./openai-messages.ts";
import { question } from "./question.ts";
import { sharegpt } from "./sharegpt.ts";
import { trl } from "./trl.ts";

/** In the order in which they are asked. */
const formats: readonly RecordFormat[] = [hh, conversationPairs, trl, sharegpt, alpaca, question, openaiMessages];

/** Keys that other tools' records have input under, and that no format here reads. */
const neverRead: Readonly<Record<string, string>> = {
  pixel_values: "pictures are read, not what another processor has made of them",
  audio: "the model does not hear",
  audios: "the model does not hear",
  rejected_audios: "the model does not hear",
  rejected_videos: "a pair has one prompt",
  objects: "boxes have to stand in the text",
  tools: "tool definitions have to stand in the system turn",
  functions: "tool definitions have to stand in the system turn",
  response: "an answer is an assistant turn of messages, or one of responses",
  completions: "answers are responses",
  outputs: "answers are responses",
  query: "a question is a user turn of messages",
};

/** The keys of all formats but those that any table may have. */
const claimed = new Set(formats.flatMap(({ keys }) => keys).filter((key) => key !== "scores" && key !== "source"));

/** @throws VlRewardError `invalid_record` for a record that no format claims */
export function formatOf(record: Readonly<Record<string, unknown>>): RecordFormat {
  const found = formats.find((format) => format.detects(record));
  if (found) return found;
  const keys = Object.keys(record).slice(0, 20).map(quote).join(", ");
  throw invalid(
    `messages: expected a list of messages (or prompt, conversations, instruction or question, as other tools have them), found ` +
      `${keys || "no key"}; docs/records.md has the formats that are read`,
  );
}

/** The other formats whose files may hold a record of this one. */
export const mayStandAmong = (name: string): readonly string[] =>
  formats.find((format) => format.name === name)?.among ?? [];

/**
 * Every key of a record is read, or is the user's own.
 *
 * @throws VlRewardError `invalid_record` with the first key that carries input and would not be read
 */
export function assertAllRead(record: Readonly<Record<string, unknown>>, format: RecordFormat): void {
  for (const [key, value] of Object.entries(record)) {
    if (format.keys.includes(key) || isEmpty(value)) continue;
    if (Object.hasOwn(neverRead, key)) {
      throw invalid(`${key}: would not be read, found ${describe(value)}; ${neverRead[key]}`);
    }
    if (claimed.has(key)) {
      throw invalid(
        `${key}: would not be read beside ${quote(format.keys.find((own) => own in record && own !== "id") ?? format.name)}, ` +
          `found ${describe(value)}; leave it out, or put it into "${metaKey}": {...}`,
      );
    }
    if (carriesMedia(key, value)) throw invalid(mediaAdvice(key));
  }
}

const invalid = (message: string): VlRewardError => new VlRewardError("invalid_record", message);
