/**
 * @file The program of a prepare thread: reads, decodes, resizes and tokenizes groups, several at once so that one slow
 * address does not hold up the others, and hands their prompts to a compute thread. Pictures that come again are neither
 * decoded nor resized, as far as there was room to keep them.
 */

import { parentPort, workerData } from "node:worker_threads";
import { familyOf } from "../../models/families.ts";
import type { Processor } from "../../models/processor.ts";
import type { GroupPrompt, Visual } from "../../models/prompt.ts";
import { unlessAborted } from "../../tasks/in-order.ts";
import { toWire } from "../../tasks/wire-error.ts";
import { traced } from "../../torch/index.ts";
import { type Group, hasMedia } from "../group.ts";
import { ByteCache } from "../pass/byte-cache.ts";
import { promptBytes, promptKey, promptTokens } from "../pass/plan.ts";
import { DeviceLoad } from "./device-load.ts";
import type { Ask, FromPrepare, PrepareTask, Prompt, TokenAnswer, TokenQuestion, ToPrepare } from "./messages.ts";
import { traceThread } from "./trace-file.ts";

const {
  folder,
  base,
  pixelLimits,
  media,
  pictureBytes,
  trace: target,
  prompts,
  load: shared,
}: PrepareTask = workerData;
const load = new DeviceLoad(shared);
const pictures = new ByteCache<Visual>(pictureBytes, () => {});
const trace = traceThread(target, "prepare");
const underWay = new Map<number, AbortController>();
/** Groups that wait until there is room for their pictures and videos. */
const waiting = new Map<number, () => void>();
let busySince = 0; // performance.now() of when something was last begun with nothing else under way

async function run(): Promise<void> {
  const options = { limits: pixelLimits, known: pictures };
  const processor = await traced("load", () => familyOf(folder, base).loadProcessor(options));
  trace?.flush();
  parentPort?.on("message", (message: ToPrepare) => {
    if (message.kind === "prepare") void prepare(processor, message.id, message.group, message.ask);
    else if (message.kind === "room") waiting.get(message.id)?.();
    else if (message.kind === "tokens") answer(processor, message.id, message);
    else forget(message.id);
  });
  tell({ kind: "ready", maxTokens: processor.maxTokens, readsMedia: processor.readsMedia });
}

function answer(processor: Processor, id: number, question: TokenQuestion): void {
  try {
    tell({ kind: "tokens", id, answer: tokensOf(processor, question) });
  } catch (error) {
    tell({ kind: "tokens", id, answer: { error: toWire(error) } });
  }
}

function tokensOf(processor: Processor, question: TokenQuestion): TokenAnswer {
  if ("ids" in question) return { text: processor.decode(question.ids) };
  const ids = processor.tokenize(question.of);
  return { ids, ...(question.spellings && { spellings: processor.spellings(ids) }) };
}

async function prepare(processor: Processor, id: number, group: Group, ask: Ask): Promise<void> {
  const stop = new AbortController();
  if (underWay.size === 0) busySince = performance.now();
  underWay.set(id, stop);
  try {
    const options = {
      baseFolder: group.baseFolder,
      signal: stop.signal,
      policy: media,
      places: ask.read.some(({ kind }) => kind === "rewards"),
      room: (bytes: number) => room(id, bytes, stop.signal),
    };
    const work = () =>
      traced("prepare", () =>
        "written" in group
          ? processor.prepareWritten(group.written, group.media, options)
          : processor.prepare(group.prefix, group.branches, options),
      );
    const prompt = await (trace ? trace.inLane(work) : work());
    stop.signal.throwIfAborted();
    trace?.flush();
    const tokens = { prompt: prompt.prefix.ids.length, all: promptTokens(prompt) };
    const device = load.assign(promptKey(prompt), tokens);
    prompts[device]?.postMessage({ kind: "prompt", id, prompt, ask } satisfies Prompt, ownBuffers(prompt));
    const [bytes, seconds] = [promptBytes(prompt), secondsOf(id)];
    const visuals = prompt.visuals.length;
    tell({ kind: "prepared", id, bytes, hasMedia: hasMedia(group), visuals, seconds, pictures: pictures.stats });
  } catch (error) {
    tell({ kind: "failed", id, error: toWire(error), hasMedia: hasMedia(group), seconds: secondsOf(id) });
  }
}

/** Resolves when the engine says that there is room. */
async function room(id: number, bytes: number, signal: AbortSignal): Promise<void> {
  const granted = new Promise<void>((resolve) => waiting.set(id, resolve));
  tell({ kind: "opened", id, bytes });
  try {
    await unlessAborted(granted, signal);
  } finally {
    waiting.delete(id);
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
