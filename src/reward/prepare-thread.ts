/**
 * @file The program of a prepare thread: reads, decodes, resizes and tokenizes groups, several at once so that one slow
 * address does not hold up the others, and hands their prompts to the compute thread without copying.
 */

import path from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { readJson } from "../checkpoint/checkpoint.ts";
import { parseConfig } from "../models/qwen2_5_vl/config.ts";
import { type GroupPrompt, Processor } from "../models/qwen2_5_vl/processor.ts";
import type { Group } from "./group.ts";
import { type FromPrepare, type PrepareTask, type Prompt, type ToPrepare, toWire } from "./thread-messages.ts";

const { folder, pixelLimits, prompts }: PrepareTask = workerData;
const underWay = new Map<number, AbortController>();
let busySince = 0; // performance.now() of when something was last begun with nothing else under way

async function run(): Promise<void> {
  const file = path.join(folder, "config.json");
  const processor = await Processor.load(folder, parseConfig(readJson(file), file), pixelLimits);
  parentPort?.on("message", (message: ToPrepare) => {
    if (message.kind === "prepare") void prepare(processor, message.id, message.group);
    else forget(message.id);
  });
  tell({ kind: "ready" });
}

async function prepare(processor: Processor, id: number, { prefix, branches, baseFolder }: Group): Promise<void> {
  const stop = new AbortController();
  if (underWay.size === 0) busySince = performance.now();
  underWay.set(id, stop);
  try {
    const prompt = await processor.prepare(prefix, branches, { baseFolder, signal: stop.signal });
    stop.signal.throwIfAborted();
    const buffers = buffersOf(prompt);
    const bytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
    prompts.postMessage({ kind: "prompt", id, prompt } satisfies Prompt, buffers);
    tell({ kind: "prepared", id, bytes, seconds: secondsOf(id) });
  } catch (error) {
    tell({ kind: "failed", id, error: toWire(error), seconds: secondsOf(id) });
  }
}

/** Takes a group off the list. Time in which several were under way counts once: with the one that is left last. */
function secondsOf(id: number): number {
  underWay.delete(id);
  return underWay.size === 0 ? (performance.now() - busySince) / 1000 : 0;
}

function forget(id: number): void {
  const stop = underWay.get(id);
  if (stop) stop.abort();
  else prompts.postMessage({ kind: "forget", id } satisfies Prompt); // behind its prompt, which has gone this way
}

/** The memory of a prompt, each piece once. */
function buffersOf({ prefix, branches, visuals }: GroupPrompt): ArrayBuffer[] {
  const spans = [prefix, ...branches].flatMap((span) => [span.ids, span.positions, span.visualPlaces]);
  const arrays = [...spans, ...visuals.map(({ values }) => values)];
  const buffers = arrays.map(({ buffer }) => buffer).filter((buffer) => buffer instanceof ArrayBuffer);
  return [...new Set(buffers)];
}

function tell(message: FromPrepare): void {
  parentPort?.postMessage(message);
}

try {
  await run();
} catch (error) {
  tell({ kind: "broken", error: toWire(error) });
}
