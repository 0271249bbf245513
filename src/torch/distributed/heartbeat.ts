/**
 * @file Whether the other processes of a run are alive, asked beside their work. A collective notices a process that
 * ended, as its connections break, but not a machine that lost its power or its network, nor anything at all while this
 * rank computes. So a thread of each process beats once a second into the store and watches the others' beats. Work does
 * not stop it: however long a rank saves a checkpoint, it lives.
 */
import { Worker } from "node:worker_threads";
import { native } from "../native.ts";
import type { ProcessEnvironment } from "./process-environment.ts";

/** How long a beat may be missing. Two seconds are usual on a busy machine; a lost rank is to be noticed in thirty. */
export const silenceSeconds = 20;

export interface HeartbeatTask {
  readonly environment: ProcessEnvironment;
  readonly joinSeconds: number;
}

/** From the thread, at every beat: the ranks whose own beat has not come for too long. */
export interface HeartbeatMessage {
  readonly silent: readonly number[];
}

export class Heartbeat {
  readonly #thread: Worker;
  readonly #watch: NodeJS.Timeout;
  #heard: number | undefined; // when the store last answered
  #ended = false;

  /**
   * To be started on the main thread, before the group connects on another.
   *
   * @param onLost called once, with words for an error: "no sign of rank 2 for 20 s". A thread that waits in a collective
   *   may never come back then: end the process by `endProcess`.
   */
  constructor(environment: ProcessEnvironment, joinSeconds: number, onLost: (message: string) => void) {
    const task: HeartbeatTask = { environment, joinSeconds };
    this.#thread = new Worker(new URL("./heartbeat-thread.js", import.meta.url), { workerData: task, execArgv: [] });
    const lost = (who: string) => {
      if (this.#ended) return;
      this.#end();
      onLost(`no sign of ${who} for ${silenceSeconds} s`);
    };
    const keeper = environment.launcherStore
      ? "the launcher, which keeps the store,"
      : "rank 0, which keeps the store,";
    this.#thread.on("message", ({ silent }: HeartbeatMessage) => {
      this.#heard = performance.now();
      if (silent.length > 0) lost(`${silent.length === 1 ? "rank" : "ranks"} ${silent.join(", ")}`);
    });
    this.#thread.on("error", () => {}); // the store is gone: the watch says so if the group does not before
    this.#watch = setInterval(() => {
      if (this.#heard !== undefined && performance.now() - this.#heard > silenceSeconds * 1000) lost(keeper);
    }, 1000);
    this.#watch.unref();
    this.#thread.unref();
  }

  /** Before the group closes, so that the rank that keeps the store can end: the others hear no more from this one. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    this.#end();
    await this.#thread.terminate();
  }

  #end(): void {
    this.#ended = true;
    clearInterval(this.#watch);
  }
}

/** Ends the process at once. `process.exit` would wait for a thread in a collective that never comes back. */
export function endProcess(code: number): never {
  return native().endProcess(code);
}
