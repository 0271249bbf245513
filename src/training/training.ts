/** @file Training, seen from the caller's thread: starts the thread that trains and listens. */

import { Worker } from "node:worker_threads";
import { VlRewardError } from "../errors.ts";
import { fromWire } from "../tasks/wire-error.ts";
import { Heartbeat, keepMemory } from "../torch/index.ts";
import type { RunResult, TrainEvent } from "./run.ts";
import type { FromTrain, TrainTask } from "./train-thread.ts";

/** How long a process waits at the start for the others: they may still be downloading the model. */
const joinSeconds = 600;

export interface TrainingOptions extends Omit<TrainTask, "stop" | "joinSeconds"> {
  readonly onEvent: (event: TrainEvent) => void;
  /** Aborted: the run saves its state after the step that it is in and stops, or at once where it has made none. */
  readonly signal: AbortSignal;
}

/** Trains. Rejects with the run's error; what was done until then is saved as docs/training.md says. */
export async function train({ onEvent, signal, ...task }: TrainingOptions): Promise<RunResult> {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  if (signal.aborted) Atomics.store(stop, 0, 1);
  keepMemory();
  const workerData: TrainTask = { ...task, joinSeconds, stop: stop.buffer };
  const { environment } = task;
  const worker = new Worker(new URL("./train-thread.js", import.meta.url), { workerData, execArgv: [] });
  const askToStop = (): void => {
    Atomics.store(stop, 0, 1);
    worker.postMessage("stop");
  };
  signal.addEventListener("abort", askToStop, { once: true });
  try {
    return await new Promise<RunResult>((resolve, reject) => {
      const heartbeat =
        environment &&
        new Heartbeat(environment, joinSeconds, (message) =>
          reject(new VlRewardError("distributed_failed", `Rank ${environment.rank}: ${message}.`)),
        );
      worker.on("message", (message: FromTrain) => {
        if (message.kind === "event") onEvent(message.event);
        else if (message.kind === "leaving") void heartbeat?.stop();
        else if (message.kind === "done") resolve(message.result);
        else reject(fromWire(message.error));
      });
      worker.on("error", reject);
      worker.on("exit", (code) => {
        reject(new VlRewardError("internal_error", `The thread that trains has ended early, with exit code ${code}.`));
      });
    });
  } finally {
    signal.removeEventListener("abort", askToStop);
    if (!environment) await worker.terminate(); // one that waits in a collective would not come back
  }
}
