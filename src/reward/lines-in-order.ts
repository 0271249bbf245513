/** @file The lines of an input at work in the engine, many at once, their results in the order of the lines. */
import { jsonSize } from "../data/json-size.ts";
import { OneFormat } from "../data/one-format.ts";
import type { RecordId } from "../data/record-line.ts";
import { answerWeight } from "../engine/group.ts";
import type { VlRewardError } from "../errors.ts";
import type { Line } from "../files/json-lines.ts";
import { inOrder } from "../tasks/in-order.ts";
import { readAhead } from "./engine.ts";

/** Called once for each line, in order, as soon as the line and all before it are done; `endByte` is the line's. */
export type Emit<Result> = (result: Result, endByte: number) => Promise<void> | void;

/**
 * Rejects with the signal's reason, and where `lines`, `work` or `emit` do.
 *
 * @param work is given a signal that aborts when the run ends, and must reject then
 */
export async function linesInOrder<Result>(
  lines: AsyncIterable<Line>,
  work: (line: Line, signal: AbortSignal) => Promise<Result>,
  signal: AbortSignal,
  emit: Emit<Result>,
): Promise<void> {
  const workOn = async (line: Line, ended: AbortSignal) => ({ result: await work(line, ended), endByte: line.endByte });
  const results = inOrder(lines, workOn, {
    ahead: readAhead.groups,
    weight: weightOfLine,
    maxWeight: readAhead.characters,
    signal,
  });
  for await (const { result, endByte } of results) await emit(result, endByte);
}

/** At least what the group weighs that the line becomes: each of its values may be an answer. */
const weightOfLine = ({ content }: Line): number =>
  typeof content === "string" ? content.length + answerWeight * jsonSize(content).values : 0;

/**
 * Reads the lines of one file: what `read` makes of a line's text; or the error of a line that is none, or of a record whose format
 * is not the file's. To be called in the order of the lines.
 */
export function lineReader<R extends ReadLine>(read: (text: string, lineNumber: number) => R) {
  const formats = new OneFormat();
  return {
    read: ({ number, content }: Line): R | { readonly id: RecordId; readonly error: VlRewardError } =>
      typeof content === "string" ? formats.check(read(content, number), number) : { id: number, error: content },
    /** Of the records so far; undefined where none could be read. */
    format: (): string | undefined => formats.format,
  };
}

type ReadLine =
  | { readonly id: RecordId; readonly format: string }
  | { readonly id: RecordId; readonly error: VlRewardError };
