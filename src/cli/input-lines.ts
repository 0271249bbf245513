/** @file The lines of an input, whatever it is: a file, a pipe, standard input; and whatever its records are wrapped in. */
import { closeSync, createReadStream, fstatSync, read } from "node:fs";
import { Socket } from "node:net";
import { promisify } from "node:util";
import { VlRewardError } from "../errors.ts";
import { linesOf } from "../files/containers/lines.ts";
import type { Line } from "../files/json-lines.ts";
import type { RunInput } from "./inputs.ts";
import { reason } from "./output.ts";

/** Opens the input and reads it to its end. Rejects with `input_unreadable`. */
export async function* linesIn(input: RunInput): AsyncGenerator<Line> {
  const fd = input.open();
  const isFile = fstatSync(fd).isFile();
  const random = { size: input.size, read: (position: number, length: number) => readAt(fd, position, length) };
  try {
    yield* linesOf({ name: input.name, chunks: bytesOf(fd, input.name), file: isFile ? random : undefined });
  } finally {
    if (isFile && fd !== 0) closeSync(fd);
  }
}

async function* bytesOf(fd: number, name: string): AsyncGenerator<Uint8Array> {
  const chunks = streamOf(fd)[Symbol.asyncIterator]();
  for (;;) {
    const next: IteratorResult<Uint8Array> = await chunks.next().catch((cause: unknown) => {
      throw unreadable(name, cause);
    });
    if (next.done) return;
    yield next.value;
  }
}

function streamOf(fd: number): AsyncIterable<Uint8Array> {
  if (fd === 0) return process.stdin;
  // A read from a named pipe may wait for ever; a socket's can be given up when the run is interrupted.
  if (fstatSync(fd).isFIFO()) return new Socket({ fd, readable: true, writable: false });
  return createReadStream("", { fd, autoClose: false });
}

const readBytes = promisify(read);

/** As many bytes as there are from `position` on, up to `length`. */
async function readAt(fd: number, position: number, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await readBytes(fd, bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

const unreadable = (name: string, cause: unknown): VlRewardError =>
  new VlRewardError("input_unreadable", `${name} cannot be read: ${reason(cause)}.`, { cause });
