/** @file From a task of a request to what the engine reads of it: pictures found, results of before used, new ones kept. */

import { shortFloat } from "../data/short-float.ts";
import type { ReadResult } from "../engine/group.ts";
import type { ReadRequest } from "../engine/read/reader.ts";
import { VlRewardError } from "../errors.ts";
import type { Caller } from "./caller.ts";
import type { Scored, Task } from "./dialects/dialect.ts";
import { KeptResults, keyOf } from "./kept-results.ts";
import type { MediaRegistry } from "./media-registry.ts";
import type { Metrics } from "./metrics.ts";
import type { ServedModel } from "./served-models.ts";
import { groupOfTask, hasAddresses } from "./sources.ts";

const keptBytes = 64 * 2 ** 20;
const keptSeconds = 600;

const theReward: readonly ReadRequest[] = [{ kind: "reward" }];

export class Scoring {
  readonly #kept = new Map<string, KeptResults>(); // by the model
  readonly #registry: MediaRegistry;
  readonly #metrics: Metrics;
  readonly #mostAnswers: number;

  /** @param mostAnswers of one task */
  constructor(registry: MediaRegistry, metrics: Metrics, mostAnswers: number) {
    this.#registry = registry;
    this.#metrics = metrics;
    this.#mostAnswers = mostAnswers;
  }

  /**
   * Reads one task; what is wrong with it is in the result. Rejects with the signal's reason, and when the engine is closed.
   *
   * @param salt results that were kept under another one are not used
   */
  async read(
    { name, engine }: ServedModel,
    task: Task,
    requests: readonly ReadRequest[],
    caller: Caller,
    salt?: string,
  ): Promise<ReadResult> {
    try {
      this.#assertFew(task);
      const group = await groupOfTask(task, this.#registry);
      const kept = this.#keptOf(name);
      const key = hasAddresses(group) ? undefined : keyOf(group, requests, salt);
      const before = key === undefined ? undefined : kept.get(key);
      this.#metrics.kept(name, before !== undefined);
      if (before !== undefined) return before;
      const { client, signal, deadline, priority } = caller;
      const result = await engine.readGroup(group, requests, { client, signal, deadline, priority });
      this.#metrics.read(name, result);
      if (key !== undefined && !("error" in result)) kept.set(key, result);
      return result;
    } catch (error) {
      if (error instanceof VlRewardError && !caller.signal.aborted && error.code !== "engine_closed") return { error };
      throw error;
    }
  }

  /**
   * The rewards of all tasks of a request. Rejects with the error of the first that fails, naming which, and lets go of the others:
   * an answer in part would look like rewards.
   */
  async scores(model: ServedModel, tasks: readonly Task[], caller: Caller, salt?: string): Promise<Scored[]> {
    const failed = new AbortController();
    const signal = AbortSignal.any([caller.signal, failed.signal]);
    const work = tasks.map(async (task, index) => {
      const result = await this.read(model, task, theReward, { ...caller, signal }, salt);
      if (!("error" in result)) return scoredOf(result);
      const { code, message } = result.error;
      throw tasks.length === 1 ? result.error : new VlRewardError(code, `conversation ${index}: ${message}`);
    });
    try {
      return await Promise.all(work);
    } catch (error) {
      failed.abort(error);
      await Promise.allSettled(work);
      throw error;
    }
  }

  #keptOf(model: string): KeptResults {
    const found = this.#kept.get(model) ?? new KeptResults(keptBytes, keptSeconds);
    this.#kept.set(model, found);
    return found;
  }

  #assertFew(task: Task): void {
    const found = "written" in task ? 1 : task.answers.length;
    if (found <= this.#mostAnswers) return;
    throw new VlRewardError(
      "invalid_request",
      `${found} answers to one prompt, this server reads at most ${this.#mostAnswers}; send them as several, or raise --max-candidates`,
    );
  }
}

/** @throws VlRewardError `score_not_finite`, for JSON has no such number */
function scoredOf({ answers, tokens }: Exclude<ReadResult, { readonly error: unknown }>): Scored {
  const scores = answers.map(([reward]) => Number(reward));
  if (scores.every(Number.isFinite)) return { scores: scores.map(shortFloat), tokens };
  throw new VlRewardError(
    "score_not_finite",
    "the model gave a reward that is no finite number: its weights hold NaN, or overflow in this precision",
  );
}
