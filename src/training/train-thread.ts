/**
 * @file The program of the thread that trains: the main thread stays free to show progress and to hear Ctrl-C while a step
 * is computed.
 */

import { parentPort, workerData } from "node:worker_threads";
import { toWire, type WireError } from "../tasks/wire-error.ts";

import { chooseDevice, type Device, type ProcessEnvironment, ProcessGroup } from "../torch/index.ts";
import { objectives } from "./objectives/registry.ts";
import { type RunOptions, type RunResult, runTraining, type TrainEvent } from "./run.ts";
import { alone, type World } from "./world.ts";

/** What the thread is started with. */
export interface TrainTask
  extends Pick<RunOptions, "config" | "modelFolder" | "media" | "device" | "resume" | "checkOnly"> {
  /** Which of several processes this is. */
  readonly environment: ProcessEnvironment | undefined;
  /** How long to wait at the start for the others. */
  readonly joinSeconds: number;
  /** One number: 1 asks the run to save its state and stop. A message says so too, for what waits and does not look. */
  readonly stop: SharedArrayBuffer;
}

/** What it tells. */
export type FromTrain =
  | { readonly kind: "event"; readonly event: TrainEvent }
  /** All steps are made; other processes may end from now on. */
  | { readonly kind: "leaving" }
  | { readonly kind: "done"; readonly result: RunResult }
  | { readonly kind: "failed"; readonly error: WireError };

/** A collective waits so long for the slowest process, which may be saving; one that has ended is noticed at once. */
const timeoutSeconds = 24 * 3600;

const { stop, environment, joinSeconds, device: wanted, ...task }: TrainTask = workerData;
const stopping = new Int32Array(stop);
const isStopping = (): boolean => Atomics.load(stopping, 0) === 1;
const interrupt = new AbortController();
parentPort?.once("message", () => interrupt.abort());
parentPort?.unref(); // to listen is no reason to stay
if (isStopping()) interrupt.abort();

try {
  tell({ kind: "done", result: await run() });
} catch (error) {
  tell({ kind: "failed", error: toWire(error) });
}

async function run(): Promise<RunResult> {
  const device = chooseDevice(environment && wanted !== "cpu" ? ownDevice(wanted, environment) : wanted);
  const options = {
    ...task,
    device,
    objectives,
    emit: (event: TrainEvent) => tell({ kind: "event", event }),
    isStopping,
    signal: interrupt.signal,
  };
  if (!environment) return runTraining({ ...options, world: alone(device) });
  const backend = device === "cpu" ? "gloo" : "nccl";
  const group = ProcessGroup.connect({ ...environment, backend, joinSeconds, timeoutSeconds });
  try {
    const result = await runTraining({ ...options, world: worldOf(group, environment, device) });
    tell({ kind: "leaving" });
    group.close();
    return result;
  } catch (error) {
    group.announceStop(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

/** Each process of a machine takes a GPU of its own. */
function ownDevice(device: string, { localRank }: ProcessEnvironment): string {
  if (device !== "auto" && device !== "cuda") return device;
  return device === "auto" && chooseDevice("auto") === "cpu" ? "cpu" : `cuda:${localRank}`;
}

function worldOf(group: ProcessGroup, { localSize }: ProcessEnvironment, device: Device): World {
  return {
    rank: group.rank,
    worldSize: group.worldSize,
    localSize,
    device,
    allReduce: (tensor) => group.allReduce(tensor),
    allGather: (tensor) => group.allGather(tensor),
    reduceScatter: (tensor) => group.reduceScatter(tensor),
  };
}

function tell(message: FromTrain): void {
  parentPort?.postMessage(message);
}
