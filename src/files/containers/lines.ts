/**
 * @file The lines of an input, whatever they are packed in: JSON Lines, a JSON list, objects over several lines, parquet; packed by
 * gzip or zstd, or in UTF-16. All stream, in memory for a line (parquet: a row group).
 */

import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { VlRewardError } from "../../errors.ts";
import { type Line, readLines } from "../json-lines.ts";
import { valueLines } from "./json-values.ts";
import { type Container, containerOf, headBytes } from "./kind.ts";
import { parquetLines, type RandomAccess } from "./parquet.ts";

export interface Input {
  /** For errors. */
  readonly name: string;
  /** All bytes, once. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Absent for a pipe. */
  readonly file?: RandomAccess | undefined;
}

/** Rejects with `input_unreadable`. Lines are counted from zero: a list's entries and a table's rows as well. */
export async function* linesOf(input: Input): AsyncGenerator<Line> {
  let taken = 0;
  const chunks = counted(input.chunks, (bytes) => {
    taken += bytes;
  });
  const { kind, all } = await sniffed(chunks, input.name);
  if (kind === "lines") return yield* readLines(all);
  if (kind === "list" || kind === "values") return yield* valueLines(all, kind);
  if (kind === "parquet") return yield* parquetLines(assertFile(input), input.name);
  const unpacked = unpack(all, kind, input.name);
  const inside: Input = { name: `${input.name}, unpacked,`, chunks: unpacked };
  for await (const line of linesOf(inside)) yield { ...line, endByte: taken };
}

/** The kind of an input and its bytes, the first ones included. */
export async function sniffed(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
): Promise<{ readonly kind: Container; readonly all: AsyncIterable<Uint8Array> }> {
  const iterator = chunks[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let length = 0;
  while (length < headBytes) {
    const next = await iterator.next();
    if (next.done) break;
    first.push(next.value);
    length += next.value.length;
    // Whoever types or streams records wants the first result before the second record.
    if (next.value.includes(0x0a) && length >= 16) break;
  }
  const kind = containerOf(Buffer.concat(first).subarray(0, headBytes), name);
  return { kind, all: joined(first, iterator) };
}

async function* joined(first: readonly Uint8Array[], rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* first;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  onBytes: (count: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    onBytes(chunk.length);
    yield chunk;
  }
}

function assertFile({ file, name }: Input): RandomAccess {
  if (file !== undefined) return file;
  throw new VlRewardError(
    "input_unreadable",
    `${name} is parquet, whose end has to be read first; expected a file of its own, neither a pipe nor packed`,
  );
}

async function* unpack(
  chunks: AsyncIterable<Uint8Array>,
  kind: Exclude<Container, "lines" | "list" | "values" | "parquet">,
  name: string,
): AsyncGenerator<Uint8Array> {
  try {
    if (kind === "gzip") yield* gunzipped(chunks);
    else if (kind === "zstd") yield* unzstd(chunks);
    else yield* inUtf8(chunks, kind);
  } catch (cause) {
    if (cause instanceof VlRewardError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const what = { gzip: "packed by gzip", zstd: "packed by zstd", "utf-16le": "UTF-16", "utf-16be": "UTF-16" }[kind];
    throw new VlRewardError("input_unreadable", `${name} is ${what}, and damaged or cut short: ${reason}`, { cause });
  }
}

async function* gunzipped(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip();
  const done = pipeline(Readable.from(chunks), gunzip).catch(() => {}); // the loop below ends with the same error
  yield* gunzip;
  await done;
}

const zstdPiece = 1024; // a few bytes can unpack to 128 KiB: not too many of them at once

async function* unzstd(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { Decompress } = await import("fzstd");
  let unpacked: Uint8Array[] = [];
  const stream = new Decompress((piece) => {
    unpacked.push(piece);
  });
  const take = function* () {
    const pieces = unpacked;
    unpacked = [];
    yield* pieces;
  };
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += zstdPiece) {
      stream.push(chunk.slice(at, at + zstdPiece));
      yield* take();
    }
  }
  stream.push(new Uint8Array(), true);
  yield* take();
}

async function* inUtf8(
  chunks: AsyncIterable<Uint8Array>,
  encoding: "utf-16le" | "utf-16be",
): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder(encoding, { fatal: true });
  for await (const chunk of chunks) yield Buffer.from(decoder.decode(chunk, { stream: true }), "utf8");
  yield Buffer.from(decoder.decode(), "utf8");
}
