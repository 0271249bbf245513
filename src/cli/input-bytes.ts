/** @file The bytes of an opened input, whatever it is: a file, a pipe, standard input. */
import { createReadStream, fstatSync } from "node:fs";
import { Socket } from "node:net";
import { VlRewardError } from "../errors.ts";
import type { RunInput } from "./inputs.ts";
import { reason } from "./output.ts";

/** Opens the input and reads it to its end. Rejects with `input_unreadable`. */
export async function* bytesOf(input: RunInput): AsyncGenerator<Uint8Array> {
  const chunks = streamOf(input.open())[Symbol.asyncIterator]();
  for (;;) {
    const next: IteratorResult<Uint8Array> = await chunks.next().catch((cause: unknown) => {
      throw new VlRewardError("input_unreadable", `${input.name} cannot be read: ${reason(cause)}.`, { cause });
    });
    if (next.done) return;
    yield next.value;
  }
}

function streamOf(input: number): AsyncIterable<Uint8Array> {
  if (input === 0) return process.stdin;
  // A read from a named pipe may wait for ever; a socket's can be given up when the run is interrupted.
  if (fstatSync(input).isFIFO()) return new Socket({ fd: input, readable: true, writable: false });
  return createReadStream("", { fd: input, autoClose: true });
}
