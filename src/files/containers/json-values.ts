/**
 * @file Records that stand in one JSON list, or one behind the other over several lines each: where each begins and ends, as the
 * bytes come. Whether a record is JSON, its reader finds out.
 */

import { VlRewardError } from "../../errors.ts";
import { decodeLine, type Line, lineTooLong, maxLineBytes } from "../json-lines.ts";

const [quoteByte, backslash, comma] = [0x22, 0x5c, 0x2c];
const [openBrace, closeBrace, openBracket, closeBracket] = [0x7b, 0x7d, 0x5b, 0x5d];

/** A record's bytes and where they stand. */
export interface Value {
  /** Bytes from the start of the input. */
  readonly start: number;
  readonly end: number;
  /** Undefined where the record is longer than the limit. */
  readonly bytes: Uint8Array | undefined;
  /** Set where the input ends before it may. */
  readonly cut: boolean;
}

/**
 * @param kind `list`: the entries of the one list; what stands behind it is an entry, too, and no JSON. `values`: one after the
 *   other
 */
export async function* jsonValues(
  chunks: AsyncIterable<Uint8Array>,
  kind: "list" | "values",
  limit = maxLineBytes,
): AsyncGenerator<Value> {
  const scan = new Scan(kind, limit);
  for await (const chunk of chunks) yield* scan.take(chunk);
  yield* scan.end();
}

/** The records of a list or of values as lines; a record's number is its place, from zero. */
export async function* valueLines(chunks: AsyncIterable<Uint8Array>, kind: "list" | "values"): AsyncGenerator<Line> {
  let number = 0;
  for await (const { end, bytes, cut } of jsonValues(chunks, kind)) {
    const content = cut ? cutShort() : bytes === undefined ? lineTooLong(maxLineBytes) : decodeLine(bytes);
    yield { number: number++, endByte: end, content };
  }
}

/** The last record of an input that has lost its end. */
export const cutShort = (): VlRewardError =>
  new VlRewardError(
    "invalid_json",
    "the input ends within this record or before the list is closed: it has been cut short",
  );

class Scan {
  readonly #inList: boolean;
  readonly #limit: number;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #listIs: "before" | "open" | "closed";
  #position = 0; // of the next byte, in the input
  #start = -1; // of the record that is being read
  #end = -1; // behind its last byte that is not blank
  #pieces: Uint8Array[] = [];
  #length = 0;
  #expectsMore = false; // behind a comma

  constructor(kind: "list" | "values", limit: number) {
    this.#inList = kind === "list";
    this.#listIs = this.#inList ? "before" : "open";
    this.#limit = limit;
  }

  *take(chunk: Uint8Array): Generator<Value> {
    let from = 0; // the first byte of the chunk that belongs to the record
    for (let at = 0; at < chunk.length; at++, this.#position++) {
      const byte = chunk[at] ?? 0;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === backslash) this.#escaped = true;
        else if (byte === quoteByte) {
          this.#inString = false;
          this.#end = this.#position + 1;
        }
        continue;
      }
      if (byte <= 0x20 || (byte >= 0x80 && this.#position < 3)) continue; // blank, or the byte order mark
      if (this.#depth === 0 && this.#start === -1 && this.#listIs === "before") {
        this.#listIs = "open";
        continue;
      }
      const separates = this.#depth === 0 && this.#inList && this.#listIs === "open";
      if (separates && (byte === comma || byte === closeBracket)) {
        if (this.#start !== -1) yield this.#finish(chunk.subarray(from, at));
        else if (byte === comma || this.#expectsMore) yield this.#nothing();
        this.#expectsMore = byte === comma;
        if (byte === closeBracket) this.#listIs = "closed";
        continue;
      }
      if (this.#start === -1) {
        this.#start = this.#position;
        from = at;
      }
      if (byte === quoteByte) this.#inString = true;
      else if (byte === openBrace || byte === openBracket) this.#depth++;
      else if (byte === closeBrace || byte === closeBracket) this.#depth = Math.max(0, this.#depth - 1);
      this.#end = this.#position + 1;
      const closes = !this.#inList && this.#depth === 0 && byte === closeBrace;
      if (closes) {
        this.#position++;
        yield this.#finish(chunk.subarray(from, at + 1));
        this.#position--;
      }
    }
    if (this.#start !== -1) this.#keep(chunk.subarray(from));
  }

  *end(): Generator<Value> {
    const open = this.#inList && this.#listIs !== "closed";
    if (this.#start !== -1) yield this.#finish(new Uint8Array(), open || this.#depth > 0 || this.#inString);
    else if (open) yield this.#nothing(true);
  }

  #keep(piece: Uint8Array): void {
    this.#length += piece.length;
    if (this.#length <= this.#limit) this.#pieces.push(piece);
    else this.#pieces = [];
  }

  #finish(last: Uint8Array, cut = false): Value {
    this.#keep(last);
    const [start, end] = [this.#start, this.#inString || cut ? this.#position : this.#end];
    const bytes = this.#length <= this.#limit ? Buffer.concat(this.#pieces).subarray(0, end - start) : undefined;
    this.#start = -1;
    this.#pieces = [];
    this.#length = 0;
    this.#depth = 0;
    this.#inString = false;
    this.#expectsMore = false;
    return { start, end, bytes, cut };
  }

  /** An entry that is not there. */
  #nothing(cut = false): Value {
    return { start: this.#position, end: this.#position, bytes: new Uint8Array(), cut };
  }
}
