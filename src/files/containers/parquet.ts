/**
 * @file The rows of a parquet file as lines of JSON, row group by row group: bytes in base64 as `{"bytes": ...}`, as
 * Hugging Face's Image columns have them.
 */

import { VlRewardError } from "../../errors.ts";
import type { Line } from "../json-lines.ts";

/** A regular file, read at any place. */
export interface RandomAccess {
  readonly size: number;
  read(position: number, length: number): Promise<Uint8Array>;
}

/**
 * @param name the input's, for errors
 * @throws VlRewardError `input_unreadable` where the file is damaged or packed in a way that is not known
 */
export async function* parquetLines(file: RandomAccess, name: string): AsyncGenerator<Line> {
  const { parquetMetadataAsync, parquetReadObjects } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  const buffer = {
    byteLength: file.size,
    slice: async (start: number, end = file.size): Promise<ArrayBuffer> => {
      const bytes = await file.read(start, end - start);
      const copy = new ArrayBuffer(bytes.length);
      new Uint8Array(copy).set(bytes);
      return copy;
    },
  };
  const readable = async <Value>(work: () => Promise<Value>): Promise<Value> =>
    work().catch((cause: unknown) => {
      if (cause instanceof VlRewardError) throw cause;
      // What the library stumbles over, where it did not look.
      const isDefect = cause instanceof TypeError || cause instanceof RangeError;
      const reason = isDefect
        ? "its footer or a page of it is damaged"
        : cause instanceof Error
          ? cause.message
          : String(cause);
      throw new VlRewardError("input_unreadable", `${name} is parquet that cannot be read: ${reason}`, { cause });
    });
  const metadata = await readable(() => parquetMetadataAsync(buffer));
  const total = Number(metadata.num_rows);
  let number = 0;
  for (const group of metadata.row_groups) {
    const [rowStart, rowEnd] = [number, number + Number(group.num_rows)];
    const rows = await readable(() =>
      parquetReadObjects({ file: buffer, metadata, rowStart, rowEnd, compressors, utf8: false, geoparquet: false }),
    );
    for (const row of rows) {
      number++;
      yield {
        number: number - 1,
        endByte: Math.floor((file.size * number) / total),
        content: JSON.stringify(plain(row)),
      };
    }
  }
}

/** What JSON has no word for: bytes, whole numbers of 64 bits. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return textOf(value) ?? { bytes: base64(value) };
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date || typeof value !== "object" || value === null) return value;
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number>, plain);
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [
      key,
      key === "bytes" && entry instanceof Uint8Array ? base64(entry) : plain(entry),
    ]),
  );
}

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");

/** Columns of text that say nothing of being text, as old writers leave them; no picture is valid UTF-8. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
