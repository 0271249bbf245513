/**
 * @file The program of a prepare thread: reads, decodes, resizes and tokenizes groups, several at once so that one slow
 * address does not hold up the others, and hands their prompts to a compute thread. Pictures that come again are neither
 * decoded nor resized, as far as there was room to keep them.
 */

import path from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { readJson } from "../../files/json.ts";
import { parseConfig } from "../../models/qwen2_5_vl/config.ts";
import { type GroupPrompt, Processor, type Visual } from "../../models/qwen2_5_vl/processor.ts";
import { toWire } from "../../tasks/wire-error.ts";
import { traced } from "../../torch/index.ts";
import type { Group } from "../group.ts";
import { ByteCache } from "../pass/byte-cache.ts";
import { promptKey, promptTokens } from "../pass/plan.ts";
import { DeviceLoad } from "./device-load.ts";
import type { FromPrepare, PrepareTask, Prompt, ToPrepare } from "./messages.ts";
import { traceThread } from "./trace-file.ts";

const { folder, pixelLimits, media, pictureBytes, trace: target, prompts, load: shared }: PrepareTask = workerData;
const load = new DeviceLoad(shared);
const pictures = new ByteCache<Visual>(pictureBytes, () => {});
const trace = traceThread(target, "prepare");
const underWay = new Map<number, AbortController>();
let busySince = 0; // performance.now() of when something was last begun with nothing else under way

async function run(): Promise<void> {
  const file = path.join(folder, "config.json");
  const processor = await traced("load", () =>
    Processor.load(folder, parseConfig(readJson(file), file), pixelLimits, pictures),
  );
  trace?.flush();
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
    const work = () =>
      traced("prepare", () => processor.prepare(prefix, branches, { baseFolder, signal: stop.signal, policy: media }));
    const prompt = await (trace ? trace.inLane(work) : work());
    stop.signal.throwIfAborted();
    trace?.flush();
    const tokens = { prompt: prompt.prefix.ids.length, all: promptTokens(prompt) };
    const device = load.assign(promptKey(prompt), tokens);
    prompts[device]?.postMessage({ kind: "prompt", id, prompt } satisfies Prompt, ownBuffers(prompt));
    tell({ kind: "prepared", id, bytes: bytesOf(prompt), seconds: secondsOf(id), pictures: pictures.stats });
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
  else for (const port of prompts) port.postMessage({ kind: "forget", id } satisfies Prompt); // behind its prompt, on one of these ways
}

function bytesOf({ prefix, branches, visuals }: GroupPrompt): number {
  const spans = [prefix, ...branches].flatMap((span) => [span.ids, span.positions, span.visualPlaces]);
  const distinct = new Set(visuals.map(({ pixels }) => pixels));
  return [...spans, ...distinct].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** The memory that goes to the compute thread without a copy: videos' pixels. Pictures' may be kept here. */
function ownBuffers({ visuals }: GroupPrompt): ArrayBuffer[] {
  const videos = visuals.filter(({ secondsPerGrid }) => secondsPerGrid > 0);
  return videos.map(({ pixels }) => pixels.buffer).filter((buffer) => buffer instanceof ArrayBuffer);
}

function tell(message: FromPrepare): void {
  parentPort?.postMessage(message);
}

try {
  await run();
} catch (error) {
  tell({ kind: "broken", error: toWire(error) });
}
