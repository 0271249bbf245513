/**
 * @file Threads that check records: nearly all of the check is counting tokens, and one thread counts about a million a
 * second.
 */

import { Worker } from "node:worker_threads";
import type { PixelLimits } from "../../conversation.ts";
import type { Preference } from "../../data/preference.ts";
import { VlRewardError } from "../../errors.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import { RequestPool } from "../../tasks/request-pool.ts";
import { fromWire, type WireError } from "../../tasks/wire-error.ts";
import type { LengthRule, Outcome } from "./record-check.ts";

/** What a check thread is started with. */
export interface CheckTask {
  readonly folder: string;
  readonly limits: PixelLimits;
  readonly media: MediaPolicy;
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

export class CheckPool {
  readonly #pool: RequestPool<Outcome>;

  /** @param folder the checkpoint whose tokenizer counts */
  constructor(folder: string, limits: PixelLimits, media: MediaPolicy, threads: number) {
    const task: CheckTask = { folder, limits, media };
    this.#pool = new RequestPool(
      threads,
      (pool) => {
        const worker = new Worker(new URL("./check-thread.js", import.meta.url), { workerData: task, execArgv: [] });
        worker.on("message", (message: FromCheck) => {
          if (message.kind === "broken") pool.fail(fromWire(message.error));
          else pool.resolve(message.id, message.outcome);
        });
        return worker;
      },
      (cause) => cause ?? new VlRewardError("internal_error", "A thread that checks records has ended"),
    );
  }

  /** As `checkPreference`. Rejects when the tokenizer cannot be loaded, and after `close`. */
  check(preference: Preference, { maxLength, tooLong }: LengthRule, baseFolder: string): Promise<Outcome> {
    const rule = { maxLength, tooLong };
    return this.#pool.ask((id) => ({ id, preference, baseFolder, rule }) satisfies CheckRequest);
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
