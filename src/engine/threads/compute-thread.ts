/**
 * @file The program of a compute thread: holds the model on one device and reads what the prepare threads send, in passes of as
 * many groups as have arrived and fit. It never waits for more while something is there, and between two steps of a pass it
 * hears what has come meanwhile: what is more urgent or small goes first (schedule.ts), what nobody wants any more is left.
 */

import path from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { VlRewardError } from "../../errors.ts";
import { asObject, readJson } from "../../files/json.ts";
import type { GroupPrompt } from "../../models/prompt.ts";
import { toWire } from "../../tasks/wire-error.ts";
import { traced } from "../../torch/index.ts";
import { type Asked, PassRunner } from "../pass/pass.ts";
import { promptTokens } from "../pass/plan.ts";
import type { Answers } from "../read/questions.ts";
import { DeviceLoad } from "./device-load.ts";
import type { Ask, ComputeTask, FromCompute, PassResult, Prompt } from "./messages.ts";
import { isShort, type RunningPass, type StepBudget, schedule, type WaitingGroup } from "./schedule.ts";
import { traceThread } from "./trace-file.ts";

interface Arrived extends WaitingGroup {
  readonly prompt: GroupPrompt;
  readonly ask: Ask;
  passedOver: number;
}

/** A pass that has begun, with what the schedule asks of it. */
interface Running extends RunningPass {
  readonly groups: readonly Arrived[];
  readonly steps: Generator<void, Answers[]>;
  /** Those that are no longer wanted. */
  readonly forgotten: Set<number>;
  /** Answers that its steps have read. */
  read: number;
  interruptions: number;
}

const { options, trace: target, prompts, device, load: shared }: ComputeTask = workerData;
const load = new DeviceLoad(shared);
const trace = traceThread(target, `compute ${options.device}`);
const waiting: Arrived[] = [];
const running: Running[] = [];
let turnIsDue = false;

function run(): void {
  const runner = traced("load", () => PassRunner.load(options));
  const { patchesPerToken } = runner.shape.vision ?? { patchesPerToken: 1 };
  const budget = { tokens: runner.tokenBudget, patches: patchesPerToken * runner.tokenBudget };
  trace?.flush();
  for (const port of prompts) {
    port.on("message", (message: Prompt) => {
      if (message.kind === "forget") return forget(message.id);
      arrive(message.id, message.prompt, message.ask);
      takeTurn(runner, budget);
    });
  }
  parentPort?.ref(); // a prepare thread that crashes takes its port with it: this thread is not to end before it is told
  const { place, parameters, shape, notes } = runner;
  const { hidden: hiddenSize } = shape.decoder;
  const config = asObject(readJson(path.join(options.base ?? options.folder, "config.json"))) ?? {};
  const { untrained, id2label } = config;
  const label = String(asObject(id2label)?.["0"] ?? "LABEL_0").slice(0, 200);
  // A checkpoint of this project says in its config.json that its weights are random.
  tell({ kind: "ready", info: { ...place, parameters, hiddenSize, untrained: untrained === true, label, notes } });
}

function arrive(id: number, prompt: GroupPrompt, ask: Ask): void {
  const { priority = 0, client, deadline } = ask;
  const patches = prompt.visuals.reduce((sum, visual) => sum + visual.patches, 0);
  const tokens = promptTokens(prompt);
  waiting.push({ id, prompt, ask, tokens, patches, priority, client, deadline, passedOver: 0, alone: false });
}

/** A turn of the event loop lies between two steps: it takes in what has arrived meanwhile. */
function takeTurn(runner: PassRunner, budget: StepBudget): void {
  if (turnIsDue || (waiting.length === 0 && running.length === 0)) return;
  turnIsDue = true;
  setImmediate(() => {
    turnIsDue = false;
    turn(runner, budget);
    takeTurn(runner, budget);
  });
}

function turn(runner: PassRunner, budget: StepBudget): void {
  const { expired, turn: next } = schedule(waiting, running, budget, Date.now());
  const late = taken(expired);
  if (late.length > 0) tell(passMessage(runner, late.map(tooLate), 0));
  if (next.kind === "rest") return;
  if (next.kind === "begin") begin(runner, taken(next.ids), budget);
  const pass = running.at(-1);
  if (pass) step(runner, pass);
}

/** Takes groups off those that wait, in the order of `ids`. */
function taken(ids: readonly number[]): Arrived[] {
  return ids.flatMap((id) => {
    const index = waiting.findIndex((group) => group.id === id);
    return index === -1 ? [] : waiting.splice(index, 1);
  });
}

function begin(runner: PassRunner, groups: readonly Arrived[], budget: StepBudget): void {
  const interrupted = running.at(-1);
  if (interrupted) interrupted.interruptions++;
  const last = Math.max(...groups.map(({ id }) => id));
  for (const group of waiting) if (group.id < last) group.passedOver++;
  const sums = groups.reduce(
    (sum, { tokens, patches }) => ({ tokens: sum.tokens + tokens, patches: sum.patches + patches }),
    { tokens: 0, patches: 0 },
  );
  const asked = groups.map(({ prompt, ask }): Asked => ({ prompt, read: ask.read }));
  const pass: Running = {
    groups,
    steps: runner.run(asked, (answers) => {
      pass.read += answers;
    }),
    forgotten: new Set(),
    read: 0,
    priority: Math.max(...groups.map(({ priority }) => priority)),
    isShort: isShort(sums, budget),
    interruptions: 0,
  };
  running.push(pass);
  tell({ kind: "began", ids: groups.map(({ id }) => id) });
}

/** One step of the pass on top. When it fails, its groups are tried one by one: the others' answers do not depend on the one. */
function step(runner: PassRunner, pass: Running): void {
  pass.interruptions = 0;
  const began = performance.now();
  let results: readonly PassResult[] = [];
  let failed = false;
  try {
    const next = traced("pass", () => pass.steps.next());
    if (!next.done) {
      tell(passMessage(runner, [], secondsSince(began)));
      return;
    }
    results = pass.groups.map((group, index) => answered(group, next.value[index] ?? []));
  } catch (error) {
    failed = pass.groups.length > 1;
    results = pass.groups.map(({ id }) => ({ id, error: toWire(error) }));
  }
  running.pop();
  const wanted = pass.groups.filter(({ id }) => !pass.forgotten.has(id));
  if (failed) {
    waiting.push(...wanted.map((group) => ({ ...group, alone: true })));
    tell(passMessage(runner, [], secondsSince(began)));
    return;
  }
  trace?.flush();
  for (const group of wanted) load.done(device, group.tokens);
  const ids = new Set(wanted.map(({ id }) => id));
  tell(
    passMessage(
      runner,
      results.filter(({ id }) => ids.has(id)),
      secondsSince(began),
    ),
  );
}

function answered({ id, prompt }: Arrived, answers: Answers): PassResult {
  const { prefix, branches } = prompt;
  const tokens = branches.reduce((sum, { ids }) => sum + prefix.ids.length + ids.length, 0);
  return { id, answers, tokens, places: branches.flatMap(({ places }) => (places ? [places] : [])) };
}

function tooLate({ id, tokens, ask }: Arrived): PassResult {
  load.done(device, tokens);
  const late = Math.max(0, Date.now() - (ask.deadline ?? 0));
  const message = `the group was still waiting ${late} ms after its deadline; allow more time, or ask for less at once`;
  return { id, error: toWire(new VlRewardError("deadline_exceeded", message)) };
}

function forget(id: number): void {
  const [group] = taken([id]);
  const pass = running.find(({ groups }) => groups.some((own) => own.id === id));
  const found = group ?? pass?.groups.find((own) => own.id === id);
  if (!found || pass?.forgotten.has(id)) return; // answered already; or another device's
  load.done(device, found.tokens);
  tell({ kind: "forgotten", id });
  if (!pass) return;
  pass.forgotten.add(id);
  if (pass.forgotten.size < pass.groups.length) return;
  pass.steps.return([]); // nobody waits for it
  running.splice(running.indexOf(pass), 1);
}

const passMessage = (runner: PassRunner, results: readonly PassResult[], seconds: number): FromCompute => ({
  kind: "pass",
  results,
  inside: running.reduce((sum, { read }) => sum + read, 0),
  seconds,
  caches: { ...runner.stats },
});

const secondsSince = (began: number): number => (performance.now() - began) / 1000;

function tell(message: FromCompute): void {
  parentPort?.postMessage(message);
}

try {
  run();
} catch (error) {
  tell({ kind: "broken", error: toWire(error) });
}
