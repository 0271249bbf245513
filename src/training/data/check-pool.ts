/**
 * @file Threads that check records: nearly all of the check is counting tokens, and one thread counts about a million a
 * second.
 */

import { Worker } from "node:worker_threads";
import type { Preference } from "../../data/preference.ts";
import { VlRewardError } from "../../errors.ts";
import type { PixelLimits } from "../../models/conversation.ts";
import { fromWire, type WireError } from "../../reward/thread-messages.ts";
import type { LengthRule, Outcome } from "./record-check.ts";

/** What a check thread is started with. */
export interface CheckTask {
  readonly folder: string;
  readonly limits: PixelLimits;
}

export interface CheckRequest {
  readonly id: number;
  readonly preference: Preference;
  readonly baseFolder: string;
  readonly rule: LengthRule;
}

export type FromCheck =
  | { readonly kind: "checked"; readonly id: number; readonly outcome: Outcome }
  | { readonly kind: "broken"; readonly error: WireError };

interface CheckThread {
  readonly worker: Worker;
  underWay: number;
}

interface Waiting {
  readonly thread: CheckThread;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: Error) => void;
}

export class CheckPool {
  readonly #threads: readonly CheckThread[];
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 0;
  #broken: Error | undefined;

  /** @param folder the checkpoint whose tokenizer counts */
  constructor(folder: string, limits: PixelLimits, threads: number) {
    const task: CheckTask = { folder, limits };
    this.#threads = Array.from({ length: threads }, () => {
      const worker = new Worker(new URL("./check-thread.js", import.meta.url), { workerData: task, execArgv: [] });
      worker.on("message", (message: FromCheck) => {
        if (message.kind === "broken") this.#fail(fromWire(message.error));
        else this.#take(message.id)?.resolve(message.outcome);
      });
      worker.on("error", (cause) => this.#fail(cause));
      worker.on("exit", () =>
        this.#fail(new VlRewardError("internal_error", "A thread that checks records has ended")),
      );
      return { worker, underWay: 0 };
    });
  }

  /** As `checkPreference`. Rejects when the tokenizer cannot be loaded, and after `close`. */
  check(preference: Preference, { maxLength, tooLong }: LengthRule, baseFolder: string): Promise<Outcome> {
    if (this.#broken) return Promise.reject(this.#broken);
    const thread = this.#threads.reduce((least, other) => (other.underWay < least.underWay ? other : least));
    const id = this.#nextId++;
    thread.underWay++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { thread, resolve, reject });
      const rule = { maxLength, tooLong };
      thread.worker.postMessage({ id, preference, baseFolder, rule } satisfies CheckRequest);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting) waiting.thread.underWay--;
    return waiting;
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(error);
  }
}
