/**
 * @file What is asked of the engine, from its submission to its answer: hands groups to the prepare threads as room and turns allow,
 * settles their promises with what comes back, and starts the threads anew when one has died. Knows nothing of the order of results.
 */

import { setMaxListeners } from "node:events";
import type { PixelLimits } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import { Room } from "../../tasks/room.ts";
import { fromWire, type WireError } from "../../tasks/wire-error.ts";
import { deviceWords } from "../../torch/index.ts";
import type { Group, ReadResult } from "../group.ts";
import { memoryBudget, preparedBytes } from "../machine/memory.ts";
import { type CacheStats, sumOfStats } from "../pass/byte-cache.ts";
import type { ComputeOptions } from "../pass/pass.ts";
import { type DeviceStats, type EngineStats, engineStats, nothingYet, type QueueStats } from "./device-stats.ts";
import { Job, type JobOptions } from "./job.ts";
import type { EngineInfo, FromCompute, FromPrepare, PassResult, TokenAnswer, TokenQuestion } from "./messages.ts";
import { firstInTurn } from "./schedule.ts";
import { EngineThreads, type ThreadName, type ThreadsTask, threadEnded } from "./threads.ts";
import type { TraceTarget } from "./trace-file.ts";

/** Groups with pictures or videos that a thread prepares at once. Most of them wait, for a disk, an address or for room. */
const preparedAtOnce = 8;

/** Deaths one after the other, with no answer between them, after which the engine gives up. */
const mostDeaths = 3;

/** Deaths that a group may be near to before it is taken for their cause. */
const mostAttempts = 2;

/** Orders groups with pictures in the line for room: above any number of groups that have come. */
const priorityStep = 2 ** 40;

export type EngineHealth = "ready" | "restarting" | "failed";

/** What is known of one prepare thread. */
interface PrepareState {
  /** Groups with pictures or videos that it is at. */
  preparing: number;
  pictures: CacheStats;
}

/** Of tokens, under way. */
interface Question {
  readonly question: TokenQuestion;
  readonly resolve: (answer: TokenAnswer) => void;
  readonly reject: (reason: unknown) => void;
}

export class Pipeline {
  readonly #task: ThreadsTask;
  #threads: EngineThreads;
  #health: EngineHealth = "restarting";
  #deaths = 0;
  #devices: DeviceStats[];
  #prepare: PrepareState[] = [];
  /** Of each device, the groups of its passes that have begun, the one that runs last. */
  #passes: (readonly number[])[][] = [];
  readonly #waiting: Job[] = [];
  readonly #underWay = new Map<number, Job>();
  readonly #questions = new Map<number, Question>();
  readonly #end = new AbortController();
  /** For pictures and videos that are decoded, or wait decoded for the arithmetic. */
  readonly #room: Room;
  /** What groups that are not settled hold here, and the most that they may. */
  #bytes = 0;
  readonly #mostBytes: number;
  #mediaSeconds = 0;
  #visuals = 0;
  #nextId = 0;

  private constructor(task: ThreadsTask) {
    this.#task = task;
    const budget = task.options.memory ?? memoryBudget(undefined);
    this.#room = new Room(preparedBytes(budget));
    this.#mostBytes = waitingBytes(budget);
    this.#devices = deviceWords(task.options.device).map(nothingYet);
    this.#threads = this.#startThreads();
  }

  /**
   * Starts the threads and waits until they have loaded the model. Rejects with the first error of one of them.
   *
   * @param options its device may be several: each has a thread and a model of its own
   */
  static async start(
    options: ComputeOptions,
    pixelLimits: PixelLimits,
    media: MediaPolicy,
    trace: TraceTarget | undefined,
  ): Promise<{ pipeline: Pipeline; info: EngineInfo }> {
    const pipeline = new Pipeline({ options, pixelLimits, media, trace });
    try {
      const info = await pipeline.#threads.ready();
      pipeline.#devices = info.devices.map(nothingYet);
      pipeline.#health = "ready";
      return { pipeline, info };
    } catch (error) {
      await pipeline.close(error);
      throw error;
    }
  }

  get health(): EngineHealth {
    return this.#health;
  }

  get stats(): EngineStats {
    return engineStats(
      this.#devices,
      { seconds: this.#mediaSeconds, bytesPeak: this.#room.use.peak, visuals: this.#visuals },
      this.#queue,
      this.#prepare.map(({ pictures }) => pictures),
    );
  }

  get #queue(): QueueStats {
    const submitted = [...this.#underWay.values(), ...this.#waiting].map((job) => job.submitted);
    const oldest = submitted.reduce((first, other) => Math.min(first, other), performance.now());
    return {
      length: submitted.length,
      oldestSeconds: (performance.now() - oldest) / 1000,
      bytes: this.#bytes,
    };
  }

  /** Aborts when the pipeline is closed, or cannot be started anew. */
  get ended(): AbortSignal {
    return this.#end.signal;
  }

  /** Resolves to what was read of a group, or its error. Rejects with the signal's reason, or when the pipeline is closed. */
  submit(group: Group, options: JobOptions): Promise<ReadResult> {
    const { signal, deadline } = options;
    return new Promise((resolve, reject) => {
      if (this.#end.signal.aborted) return reject(this.#end.signal.reason);
      if (signal?.aborted) return reject(signal.reason);
      if (deadline !== undefined && deadline <= Date.now()) return resolve({ error: tooLate() });
      const id = this.#nextId++;
      const job = new Job(id, group, options);
      if (this.#bytes > 0 && this.#bytes + job.bytes > this.#mostBytes)
        return resolve({ error: overloaded(this.#bytes) });
      this.#bytes += job.bytes;
      const abort = () => {
        job.reject(signal?.reason);
        this.#forget(job);
      };
      const patience = deadline === undefined ? undefined : setTimeout(() => this.#expire(job), deadline - Date.now());
      patience?.unref();
      job.onSettled(resolve, reject, () => {
        this.#bytes -= job.bytes;
        clearTimeout(patience);
        signal?.removeEventListener("abort", abort);
      });
      if (signal) setMaxListeners(0, signal); // one for each group under way is no leak
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.push(job);
      this.#advance();
    });
  }

  /** Asks a prepare thread about tokens. Rejects with what it finds wrong, and when the pipeline is closed. */
  ask(question: TokenQuestion): Promise<TokenAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#end.signal.aborted) return reject(this.#end.signal.reason);
      const id = this.#nextId++;
      this.#questions.set(id, { question, resolve, reject });
      if (this.#health === "ready") this.#pose(id, question);
    });
  }

  /** Ends the threads, the running pass too. What was submitted and is not settled rejects with `reason`. */
  async close(reason: unknown): Promise<void> {
    this.#end.abort(reason);
    this.#health = "failed";
    const unsettled = [...this.#underWay.values(), ...this.#waiting.splice(0), ...this.#questions.values()];
    this.#underWay.clear();
    this.#questions.clear();
    for (const one of unsettled) one.reject(this.#end.signal.reason);
    await this.#threads.end();
  }

  #startThreads(): EngineThreads {
    const threads = new EngineThreads(this.#task, {
      onPrepare: (thread, message) => {
        if (message.kind === "tokens") this.#onTokens(message.id, message.answer);
        else this.#onPrepared(thread, message);
      },
      onCompute: (device, message) => this.#onComputed(device, message),
      onDeath: (thread, cause) => void this.#restart(thread, cause),
    });
    this.#prepare = Array.from({ length: threads.prepareCount }, () => ({ preparing: 0, pictures: sumOfStats([]) }));
    this.#passes = this.#devices.map(() => []);
    return threads;
  }

  /** Answers the groups that a thread may have died of, and has the others done again by new threads. */
  async #restart(dead: ThreadName, cause: Error): Promise<void> {
    if (this.#end.signal.aborted) return;
    this.#deaths++;
    this.#health = "restarting";
    const fatal = new Set(dead.kind === "compute" ? this.#passes[dead.index]?.at(-1) : []);
    const unsettled = [...this.#underWay.values()].sort((a, b) => a.id - b.id);
    this.#underWay.clear();
    const again: Job[] = [];
    for (const job of unsettled) {
      job.stay?.leave();
      job.stay = undefined;
      const isSuspect = dead.kind === "prepare" && job.thread === dead.index && !job.isPrepared;
      if (isSuspect) job.attempts++;
      if (fatal.has(job.id) || job.attempts >= mostAttempts) job.resolve({ error: threadEnded(cause) });
      else if (!job.isSettled) again.push(job);
    }
    this.#waiting.unshift(...again);
    await this.#threads.end();
    if (this.#deaths >= mostDeaths) return this.close(threadEnded(cause));
    if (this.#end.signal.aborted) return;
    this.#threads = this.#startThreads();
    try {
      await this.#threads.ready();
    } catch (error) {
      return this.close(error);
    }
    if (this.#end.signal.aborted) return;
    this.#health = "ready";
    for (const [id, { question }] of this.#questions) this.#pose(id, question);
    this.#advance();
  }

  #pose(id: number, question: TokenQuestion): void {
    this.#threads.post(id % this.#prepare.length, { kind: "tokens", id, ...question });
  }

  #onTokens(id: number, answer: TokenAnswer | { readonly error: WireError }): void {
    const question = this.#questions.get(id);
    this.#questions.delete(id);
    if ("error" in answer) question?.reject(fromWire(answer.error));
    else question?.resolve(answer);
  }

  #onPrepared(
    thread: number,
    message: Extract<FromPrepare, { readonly kind: "opened" | "prepared" | "failed" }>,
  ): void {
    const job = this.#underWay.get(message.id); // a fast compute thread has answered already
    if (message.kind === "opened") {
      job?.stay?.ask(message.bytes, () => this.#threads.post(thread, { kind: "room", id: message.id }));
      return;
    }
    this.#mediaSeconds += message.seconds;
    const state = this.#prepare[thread];
    if (message.hasMedia && state) state.preparing--;
    if (message.kind === "failed") {
      this.#answer(message.id, { error: fromWire(message.error) });
      return;
    }
    if (state) state.pictures = message.pictures;
    this.#visuals += message.visuals;
    job?.prepared();
    job?.stay?.shrink(message.bytes);
    this.#advance();
  }

  #onComputed(device: number, message: Exclude<FromCompute, { readonly kind: "ready" | "broken" }>): void {
    if (message.kind === "forgotten") {
      this.#answer(message.id, undefined);
      return;
    }
    if (message.kind === "began") {
      this.#passes[device]?.push(message.ids);
      return;
    }
    const stats = this.#devices[device];
    if (!stats) return;
    const { seconds, inside, caches, results } = message;
    const computeSeconds = stats.computeSeconds + seconds;
    this.#devices[device] = { ...stats, passes: stats.passes + 1, sequencesInside: inside, computeSeconds, caches };
    if (results.length > 0) this.#deaths = 0;
    for (const result of results) this.#answer(result.id, this.#resultOf(device, result, seconds));
    const passes = this.#passes[device] ?? [];
    this.#passes[device] = passes.filter((ids) => ids.some((id) => this.#underWay.has(id)));
  }

  /** @param compute seconds of the pass */
  #resultOf(device: number, result: PassResult, compute: number): ReadResult {
    if ("error" in result) return { error: fromWire(result.error) };
    const { id, ...found } = result;
    const stats = this.#devices[device];
    if (stats) {
      const sequences = stats.sequences + found.answers.length;
      this.#devices[device] = { ...stats, sequences, tokens: stats.tokens + found.tokens };
    }
    const seconds = this.#underWay.get(id)?.secondsWith(compute) ?? { queue: 0, media: 0, compute };
    return { ...found, seconds };
  }

  #answer(id: number, result: ReadResult | undefined): void {
    const job = this.#underWay.get(id);
    if (!job) {
      if (this.#end.signal.aborted) return;
      throw new Error(`group ${id} was answered twice`);
    }
    this.#underWay.delete(id);
    job.stay?.leave();
    if (result) job.resolve(result);
    this.#advance();
  }

  /** Nobody wants it any more: it is taken back where no thread has it, else let go of by its thread, which says so. */
  #forget(job: Job): void {
    const index = this.#waiting.indexOf(job);
    if (index !== -1) this.#waiting.splice(index, 1);
    else if (this.#underWay.has(job.id)) this.#threads.post(job.thread, { kind: "forget", id: job.id });
  }

  /** What is prepared is the compute thread's to judge: it knows whether it has begun. */
  #expire(job: Job): void {
    if (job.isPrepared) return;
    job.resolve({ error: tooLate() });
    this.#forget(job);
  }

  /** Of groups that a thread may have died of, one is prepared at a time: so it is told from those that were beside it. */
  #mustWaitAlone({ attempts }: Job): boolean {
    return attempts > 0 && [...this.#underWay.values()].some((other) => other.attempts > 0 && !other.isPrepared);
  }

  /** Hands out as many waiting groups as threads can take, each in its turn; text alone need not wait for media. */
  #advance(): void {
    while (this.#health === "ready" && this.#waiting.length > 0) {
      const thread = this.#prepare.reduce(
        (least, { preparing }, index) => (preparing < (this.#prepare[least]?.preparing ?? 0) ? index : least),
        0,
      );
      const state = this.#prepare[thread];
      const isFull = (state?.preparing ?? 0) >= preparedAtOnce;
      const job = firstInTurn(this.#waiting.filter((one) => !(one.hasMedia && isFull) && !this.#mustWaitAlone(one)));
      if (!job || !state) return;
      this.#waiting.splice(this.#waiting.indexOf(job), 1);
      const { id, group, ask } = job;
      try {
        this.#threads.post(thread, { kind: "prepare", id, group, ask });
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        job.resolve({ error: new VlRewardError("invalid_record", `a group must be plain data: ${reason}`, { cause }) });
        continue;
      }
      for (const other of this.#waiting) if (other.id < id) other.passedOver++;
      job.handedTo(thread, job.hasMedia ? this.#room.book(id - priorityStep * job.priority) : undefined);
      this.#underWay.set(id, job);
      if (job.hasMedia) state.preparing++;
    }
  }
}

/** Texts, and pictures as data URLs, of groups that wait: JavaScript's own heap holds them, whatever the budget is. */
const waitingBytes = (budget: number): number => Math.min(2 ** 30, Math.max(2 ** 28, Math.floor(budget / 8)));

const overloaded = (bytes: number): VlRewardError =>
  new VlRewardError(
    "overloaded",
    `${Math.round(bytes / 2 ** 20)} MiB of conversations wait already, which is what memory allows; come back in a while`,
  );

const tooLate = (): VlRewardError =>
  new VlRewardError(
    "deadline_exceeded",
    "the group was not prepared before its deadline; allow more time, or ask for less at once",
  );
