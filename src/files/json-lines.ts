/**
 * @file Lines of a JSON Lines file, one after the other, in constant memory.
 *
 * A byte order mark at the start and Windows line ends are accepted, blank lines are skipped but counted. A line that
 * is not UTF-8 or too long is reported as such and the next one is read; nothing is replaced or cut.
 */

import { VlRewardError } from "../errors.ts";

/** A line of this many bytes would hold some 190 MB of pictures in data URLs. */
export const maxLineBytes = 256 * 1024 * 1024;

export interface Line {
  /** Zero-based, blank lines counted. */
  readonly number: number;
  /** Bytes of the input up to the end of this line, for progress. */
  readonly endByte: number;
  readonly content: string | VlRewardError;
}

const newline = 0x0a;
const blank = /^[ \t\r]*$/;

/** @param input the bytes, in pieces of any size */
export async function* readLines(input: AsyncIterable<Uint8Array>, limit = maxLineBytes): AsyncGenerator<Line> {
  let number = 0;
  let endByte = 0;
  let pieces: Uint8Array[] = [];
  let length = 0;

  const take = (): Line | undefined => {
    const decoded = length > limit ? lineTooLong(limit) : decodeLine(Buffer.concat(pieces));
    const content = number === 0 && typeof decoded === "string" ? decoded.replace(/^\uFEFF/, "") : decoded;
    const line = { number, endByte, content };
    pieces = [];
    length = 0;
    number++;
    return typeof content === "string" && blank.test(content) ? undefined : line;
  };
  const keep = (piece: Uint8Array) => {
    length += piece.length;
    endByte += piece.length;
    if (length <= limit) pieces.push(piece);
    else pieces = [];
  };

  for await (const chunk of input) {
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      keep(chunk.subarray(start, end));
      endByte++;
      start = end + 1;
      const line = take();
      if (line !== undefined) yield line;
    }
    if (start < chunk.length) keep(chunk.subarray(start));
  }
  const last = length > 0 ? take() : undefined;
  if (last !== undefined) yield last;
}

/** The text of a line, or that it is not UTF-8. A byte order mark stays. */
export function decodeLine(bytes: Uint8Array): string | VlRewardError {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    return new VlRewardError("invalid_json", "the line is not UTF-8; JSON Lines must be", { cause });
  }
}

export function lineTooLong(limit: number): VlRewardError {
  const size = `${limit} bytes`;
  return new VlRewardError(
    "invalid_json",
    `the line is longer than ${size}; name pictures by path instead of data URL`,
  );
}
