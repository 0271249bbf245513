/** @file One line of output for one record that was embedded: vectors by the kind of record, or an error. */
import { VlRewardError } from "../errors.ts";
import type { PreferenceRecord } from "./record.ts";
import type { RecordId } from "./record-line.ts";
import { type ErrorResult, withFile } from "./result.ts";
import { roundToFloat16, shortFloat, shortFloat16 } from "./short-float.ts";

/** What the numbers of a vector are rounded to. */
export type Precision = "float16" | "float32";

/** What became of a record. */
export type EmbeddedRecord =
  | {
      readonly id: RecordId;
      readonly kind: "prompt" | PreferenceRecord["kind"];
      /** [hidden] each, rounded: of the prompt or conversation; of each response; of chosen and rejected. */
      readonly vectors: readonly Float32Array[];
    }
  | ErrorResult;

const largest16 = 65_504;

/** Throws VlRewardError `score_not_finite`: JSON has no such numbers, and they are near to nothing. */
export function rounded(vector: Float32Array, precision: Precision): Float32Array {
  if (!vector.every(Number.isFinite)) {
    throw new VlRewardError(
      "score_not_finite",
      "the model gave an embedding that is not finite: its weights hold NaN, or overflow in this --dtype",
    );
  }
  if (precision === "float32") return vector;
  const found = vector.map(roundToFloat16);
  if (found.every(Number.isFinite)) return found;
  throw new VlRewardError(
    "score_not_finite",
    `the embedding has numbers beyond ${largest16}, the largest float16; write float32, or scale to length 1 (--normalize)`,
  );
}

/** A record's embeddings as one line of JSON Lines, with its line end; `file` is the input's, where there are several. */
export function embeddingLine(record: EmbeddedRecord, precision: Precision, file?: string): string {
  return `${JSON.stringify(withFile(embeddingOf(record, precision), file))}\n`;
}

/** A record's embeddings as JSON has them. */
export function embeddingOf(record: EmbeddedRecord, precision: Precision) {
  if ("error" in record) return record;
  const { id, kind } = record;
  const short = precision === "float16" ? shortFloat16 : shortFloat;
  const vectors = record.vectors.map((vector) => Array.from(vector, short));
  const [first, second] = vectors;
  if (kind === "candidates") return { id, embeddings: vectors };
  return kind === "pair" ? { id, chosen: first, rejected: second } : { id, embedding: first };
}
