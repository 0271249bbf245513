/** @file The bytes of an opened input, whatever it is: a file, a pipe, standard input. */
import { createReadStream, fstatSync, read } from "node:fs";
import { Socket } from "node:net";
import { promisify } from "node:util";
import type { Input } from "../files/containers/lines.ts";
import { unreadable } from "./output.ts";

/**
 * An opened input, as the readers of its kinds want it.
 *
 * @param input a file descriptor; 0 is standard input
 * @param name for errors
 */
export function inputOf(input: number, name = input === 0 ? "standard input" : "the input"): Input {
  const stat = fstatSync(input);
  const size = stat.isFile() ? stat.size : undefined;
  const file =
    size === undefined ? undefined : { size, read: (at: number, length: number) => readAt(input, at, length) };
  return { name, chunks: bytesOf(input), file };
}

const readBytes = promisify(read);

async function readAt(input: number, position: number, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await readBytes(input, bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** @param input a file descriptor; 0 is standard input. Rejects with `input_unreadable`. */
export async function* bytesOf(input: number): AsyncGenerator<Uint8Array> {
  const chunks = streamOf(input)[Symbol.asyncIterator]();
  for (;;) {
    const next: IteratorResult<Uint8Array> = await chunks.next().catch((cause: unknown) => {
      throw unreadable(cause);
    });
    if (next.done) return;
    yield next.value;
  }
}

function streamOf(input: number): AsyncIterable<Uint8Array> {
  if (input === 0) return process.stdin;
  // A read from a named pipe may wait for ever; a socket's can be given up when the run is interrupted.
  if (fstatSync(input).isFIFO()) return new Socket({ fd: input, readable: true, writable: false });
  return createReadStream("", { fd: input, autoClose: false });
}
