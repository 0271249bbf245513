/** @file The road of a run that embeds: lines -> records -> groups -> the engine -> vectors, in the order of the lines. */
import type { Message } from "../conversation.ts";
import { type EmbeddedRecord, type Precision, rounded } from "../data/embedding.ts";
import { type PreferenceRecord, type PromptRecord, readPromptRecord } from "../data/record.ts";
import type { RecordId } from "../data/record-line.ts";
import { errorResult } from "../data/result.ts";
import type { ReadResult } from "../engine/group.ts";
import type { ReadRequest } from "../engine/read/reader.ts";
import { VlRewardError } from "../errors.ts";
import type { Line } from "../files/json-lines.ts";
import type { RewardEngine } from "./engine.ts";
import { type Emit, lineReader, linesInOrder } from "./lines-in-order.ts";

type Pooled = Omit<Extract<ReadRequest, { readonly kind: "pooled" }>, "kind">;

export interface EmbedOptions extends Pooled {
  readonly precision: Precision;
  /** Where relative paths inside the records start. */
  readonly baseFolder: string;
  readonly signal: AbortSignal;
}

/**
 * Embeds all lines; a bad record's line gives its error. Over prompts a record has one vector, whatever its answers, and need
 * have none. Rejects with the signal's reason, and where `lines` or `emit` do.
 */
export async function embedRecords(
  lines: AsyncIterable<Line>,
  engine: RewardEngine,
  options: EmbedOptions,
  emit: Emit<EmbeddedRecord>,
): Promise<string | undefined> {
  const reader = lineReader(readPromptRecord);
  const { over, how, normalise, precision, baseFolder } = options;
  const requests = [{ kind: "pooled", over, how, normalise }] as const;
  const embedLine = async (line: Line, signal: AbortSignal): Promise<EmbeddedRecord> => {
    const read = reader.read(line);
    if ("error" in read) return errorResult(read.id, read.error);
    const { id, record } = read;
    const embedded = whatToEmbed(record, over);
    if (embedded instanceof VlRewardError) return errorResult(id, embedded);
    const { kind, prompt, answers } = embedded;
    const found = await engine.readGroup({ prefix: prompt, branches: answers, baseFolder }, requests, { signal });
    return embeddedRecord(id, kind, found, precision);
  };
  await linesInOrder(lines, embedLine, options.signal, emit);
  return reader.format();
}

interface Embedded {
  readonly kind: "prompt" | PreferenceRecord["kind"];
  readonly prompt: readonly Message[];
  readonly answers: readonly Message[];
}

/** What a record's vectors stand for, and the turns to compute; or why there are none: over answers it must have one. */
export function whatToEmbed(
  { kind, prompt, answers }: PreferenceRecord | PromptRecord,
  over: Pooled["over"],
): Embedded | VlRewardError {
  // A group has an answer, and a prompt is the same with any, so this one's is empty.
  if (over === "prompt") return { kind: "prompt", prompt, answers: [{ role: "assistant", content: "" }] };
  if (kind !== "prompt") return { kind, prompt, answers };
  return new VlRewardError(
    "no_assistant_turn",
    "no answer to embed: the last of the messages is the user's; " +
      "end with an assistant turn, add responses, or chosen and rejected, or embed prompts (--of prompt)",
  );
}

/** A vector that JSON cannot hold makes it an error. */
export function embeddedRecord(
  id: RecordId,
  kind: PreferenceRecord["kind"] | "prompt",
  read: ReadResult,
  precision: Precision,
): EmbeddedRecord {
  if ("error" in read) return errorResult(id, read.error);
  const vectors = read.answers.flat().filter((answer) => answer instanceof Float32Array);
  try {
    return { id, kind, vectors: vectors.map((vector) => rounded(vector, precision)) };
  } catch (error) {
    if (error instanceof VlRewardError) return errorResult(id, error);
    throw error;
  }
}
