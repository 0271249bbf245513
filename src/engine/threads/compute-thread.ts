/**
 * @file The program of a compute thread: holds the model on one device and scores what the prepare threads send, in passes of as many
 * groups as have arrived and fit. It never waits for more while something is there.
 */

import path from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { readJson } from "../../files/json.ts";
import type { GroupPrompt } from "../../models/prompt.ts";
import { toWire } from "../../tasks/wire-error.ts";
import { traced } from "../../torch/index.ts";
import { promptTokens } from "../pass/plan.ts";
import { Scorer } from "../pass/scorer.ts";
import { DeviceLoad } from "./device-load.ts";
import type { ComputeTask, FromCompute, PassResult, Prompt } from "./messages.ts";
import { traceThread } from "./trace-file.ts";

interface Arrived {
  readonly id: number;
  readonly prompt: GroupPrompt;
}

const { scorer: options, trace: target, prompts, device, load: shared }: ComputeTask = workerData;
const load = new DeviceLoad(shared);
const trace = traceThread(target, `compute ${options.device}`);
const arrived: Arrived[] = [];
let passIsDue = false;

function run(): void {
  const scorer = traced("load", () => Scorer.load(options));
  trace?.flush();
  for (const port of prompts) {
    port.on("message", (message: Prompt) => {
      if (message.kind === "forget") return forget(message.id);
      arrived.push(message);
      schedule(scorer);
    });
  }
  parentPort?.ref(); // a prepare thread that crashes takes its port with it: this thread is not to end before it is told
  const { place, parameters } = scorer;
  tell({ kind: "ready", info: { ...place, parameters, untrained: isUntrained(options.folder) } });
}

/** A turn of the event loop lies between two passes: it takes in what has arrived meanwhile. */
function schedule(scorer: Scorer): void {
  if (passIsDue || arrived.length === 0) return;
  passIsDue = true;
  setImmediate(() => {
    passIsDue = false;
    pass(scorer);
    schedule(scorer);
  });
}

function pass(scorer: Scorer): void {
  const groups = takeFitting(scorer);
  if (groups.length === 0) return; // forgotten meanwhile
  const began = performance.now();
  const results = traced("pass", () => scored(scorer, groups));
  const seconds = (performance.now() - began) / 1000;
  trace?.flush();
  for (const { prompt } of groups) load.done(device, promptTokens(prompt));
  tell({ kind: "pass", results, seconds, caches: { ...scorer.stats } });
}

/** The longest beginning of the queue that fits one pass; at least one group. */
function takeFitting(scorer: Scorer): Arrived[] {
  let tokens = 0;
  let count = 0;
  for (const { prompt } of arrived) {
    tokens += promptTokens(prompt);
    if (count > 0 && tokens > scorer.tokenBudget) break;
    count++;
  }
  return arrived.splice(0, count);
}

/** When a pass fails, its groups are tried one by one: the others' scores do not depend on the one that failed. */
function scored(scorer: Scorer, groups: readonly Arrived[]): PassResult[] {
  try {
    const scores = scorer.score(groups.map(({ prompt }) => prompt));
    return groups.map(({ id, prompt }, index) => ({ id, scores: scores[index] ?? [], tokens: tokensOf(prompt) }));
  } catch (error) {
    if (groups.length > 1) return groups.flatMap((group) => scored(scorer, [group]));
    return groups.map(({ id }) => ({ id, error: toWire(error) }));
  }
}

/** Of all conversations, each with its whole prompt. */
function tokensOf({ prefix, branches }: GroupPrompt): number {
  return branches.reduce((sum, { ids }) => sum + prefix.ids.length + ids.length, 0);
}

function forget(id: number): void {
  const index = arrived.findIndex((group) => group.id === id);
  const [group] = index === -1 ? [] : arrived.splice(index, 1);
  if (!group) return; // scored, and so answered; or another device's
  load.done(device, promptTokens(group.prompt));
  tell({ kind: "forgotten", id });
}

/** A checkpoint of this project says in its config.json that its weights are random. */
function isUntrained(folder: string): boolean {
  const config = readJson(path.join(folder, "config.json"));
  return typeof config === "object" && config !== null && "untrained" in config && config.untrained === true;
}

function tell(message: FromCompute): void {
  parentPort?.postMessage(message);
}

try {
  run();
} catch (error) {
  tell({ kind: "broken", error: toWire(error) });
}
