/**
 * @file The engine's threads, seen from the caller's: hands groups to the prepare threads as room allows, and settles
 * their promises with what comes back. Knows nothing of the order of results.
 */

import { setMaxListeners } from "node:events";
import { availableParallelism } from "node:os";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { PixelLimits } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import { Room, type Stay } from "../../tasks/room.ts";
import { fromWire } from "../../tasks/wire-error.ts";
import { deviceWords } from "../../torch/index.ts";
import { type Group, hasMedia, type ReadResult, type Urgency } from "../group.ts";
import { memoryBudget, preparedBytes } from "../machine/memory.ts";
import { type CacheStats, sumOfStats } from "../pass/byte-cache.ts";
import type { ComputeOptions } from "../pass/pass.ts";
import type { ReadRequest } from "../read/reader.ts";
import { DeviceLoad } from "./device-load.ts";
import { type DeviceStats, type EngineStats, engineStats, nothingYet } from "./device-stats.ts";
import type {
  Ask,
  ComputeTask,
  DeviceInfo,
  EngineInfo,
  FromCompute,
  FromPrepare,
  PassResult,
  PrepareTask,
  ToPrepare,
} from "./messages.ts";
import { byUrgency } from "./schedule.ts";
import type { TraceTarget } from "./trace-file.ts";

/** Groups with pictures or videos that a thread prepares at once. Most of them wait, for a disk, an address or for room. */
const preparedAtOnce = 8;

/** As many as the devices can use. */
const prepareThreads = (devices: number): number =>
  Math.max(1, Math.min(4 * devices, Math.floor(availableParallelism() / 2)));

/** What is wanted of a group. */
export interface JobOptions extends Urgency {
  readonly read: readonly ReadRequest[];
  /** Aborts it: its promise rejects with the reason, at once. */
  readonly signal?: AbortSignal | undefined;
}

/** A group from its submission to its answer. */
interface Job {
  readonly id: number;
  readonly priority: number;
  readonly resolve: (result: ReadResult) => void;
  readonly reject: (reason: unknown) => void;
}

/** One that no prepare thread has begun with. */
interface WaitingJob extends Job {
  readonly group: Group;
  readonly ask: Ask;
  readonly hasMedia: boolean;
  passedOver: number;
}

/** One that a thread has: from its preparation to its answer. The group itself is not kept here. */
interface JobUnderWay extends Job {
  readonly thread: PrepareThread;
  /** The room that its pictures and videos take; undefined for text. */
  readonly stay: Stay | undefined;
}

interface PrepareThread {
  readonly worker: Worker;
  /** Groups with pictures or videos that it is at. */
  preparing: number;
  pictures: CacheStats;
}

interface ComputeThread {
  readonly worker: Worker;
  stats: DeviceStats;
}

export class Pipeline {
  readonly #compute: readonly ComputeThread[];
  readonly #prepare: readonly PrepareThread[];
  readonly #waiting: WaitingJob[] = [];
  readonly #underWay = new Map<number, JobUnderWay>();
  readonly #end = new AbortController();
  /** For pictures and videos that are decoded, or wait decoded for the arithmetic. */
  readonly #room: Room;
  #mediaSeconds = 0;
  #nextId = 0;

  private constructor(compute: readonly ComputeThread[], prepare: readonly Worker[], mediaBytes: number) {
    this.#compute = compute;
    this.#prepare = prepare.map((worker) => ({ worker, preparing: 0, pictures: sumOfStats([]) }));
    this.#room = new Room(mediaBytes);
  }

  /**
   * Starts the threads and waits until they have loaded the model. Rejects with the first error of one of them.
   *
   * @param options its device may be several, as deviceWords reads them: each has a thread and a model of its own
   */
  static async start(
    options: ComputeOptions,
    pixelLimits: PixelLimits,
    media: MediaPolicy,
    trace: TraceTarget | undefined,
  ): Promise<{ pipeline: Pipeline; info: EngineInfo }> {
    const devices = deviceWords(options.device);
    const threads = prepareThreads(devices.length);
    const { buffer: load } = DeviceLoad.forDevices(devices.length);
    const sharers = Math.max(1, devices.filter((device) => device === "cpu").length); // "auto" may become the CPU
    // From each prepare thread to each device.
    const channels = Array.from({ length: threads }, () => devices.map(() => new MessageChannel()));
    const compute = devices.map((device, index) => {
      const prompts = channels.flatMap((row) => row.slice(index, index + 1)).map(({ port2 }) => port2);
      const task = { options: { ...options, device, sharers }, trace, prompts, device: index, load };
      return { worker: startThread<ComputeTask>("./compute-thread.js", task, prompts), stats: nothingYet(device) };
    });
    const prepared = preparedBytes(options.memory ?? memoryBudget(undefined));
    const { folder, base } = options;
    const pictureBytes = Math.floor(prepared / threads);
    const prepare = channels.map((row) => {
      const prompts = row.map(({ port1 }) => port1);
      const task = { folder, base, pixelLimits, media, pictureBytes, trace, prompts, load };
      return startThread<PrepareTask>("./prepare-thread.js", task, prompts);
    });
    const pipeline = new Pipeline(compute, prepare, prepared);
    try {
      return { pipeline, info: await pipeline.#ready() };
    } catch (error) {
      await pipeline.close(error);
      throw error;
    }
  }

  get stats(): EngineStats {
    const pictures = this.#prepare.map((thread) => thread.pictures);
    return engineStats(
      this.#compute.map(({ stats }) => stats),
      { seconds: this.#mediaSeconds, bytesPeak: this.#room.use.peak },
      pictures,
    );
  }

  /** Aborts when the pipeline is closed or one of its threads has ended. */
  get ended(): AbortSignal {
    return this.#end.signal;
  }

  /** Resolves to what was read of a group, or its error. Rejects with the signal's reason, or when the pipeline is closed. */
  submit(group: Group, { read, signal, priority = 0, deadline }: JobOptions): Promise<ReadResult> {
    return new Promise((resolve, reject) => {
      if (this.#end.signal.aborted) return reject(this.#end.signal.reason);
      if (signal?.aborted) return reject(signal.reason);
      const id = this.#nextId++;
      const abort = () => {
        job.reject(signal?.reason);
        this.#forget(id);
      };
      const settled = () => signal?.removeEventListener("abort", abort);
      const job: WaitingJob = {
        id,
        priority,
        resolve: (result) => {
          settled();
          resolve(result);
        },
        reject: (reason) => {
          settled();
          reject(reason);
        },
        group,
        ask: { read, priority, deadline },
        hasMedia: hasMedia(group),
        passedOver: 0,
      };
      if (signal) setMaxListeners(0, signal); // one for each group under way is no leak
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.push(job);
      this.#advance();
    });
  }

  /** Ends the threads, the running pass too. What was submitted and is not settled rejects with `reason`. */
  async close(reason: unknown): Promise<void> {
    this.#end.abort(reason);
    const unsettled = [...this.#underWay.values(), ...this.#waiting.splice(0)];
    this.#underWay.clear();
    for (const job of unsettled) job.reject(this.#end.signal.reason);
    await Promise.all(this.#workers().map((worker) => worker.terminate()));
  }

  #workers(): Worker[] {
    return [...this.#compute, ...this.#prepare].map(({ worker }) => worker);
  }

  #ready(): Promise<EngineInfo> {
    const prepared = this.#prepare.map(
      (thread) =>
        new Promise<void>((resolve, reject) => {
          thread.worker.on("message", (message: FromPrepare) => {
            if (message.kind === "ready") resolve();
            else if (message.kind === "broken") reject(fromWire(message.error));
            else this.#onPrepared(thread, message);
          });
        }),
    );
    const loaded = this.#compute.map(
      (thread) =>
        new Promise<DeviceInfo>((resolve, reject) => {
          thread.worker.on("message", (message: FromCompute) => {
            if (message.kind === "ready") resolve(message.info);
            else if (message.kind === "broken") reject(fromWire(message.error));
            else this.#onComputed(thread, message);
          });
          this.#end.signal.addEventListener("abort", () => reject(this.#end.signal.reason), { once: true });
        }),
    );
    for (const worker of this.#workers()) {
      worker.on("error", (error) => this.#threadEnded(error));
      worker.on("exit", (code) => this.#threadEnded(new Error(`exit code ${code}`)));
    }
    return Promise.all([Promise.all(loaded), ...prepared]).then(([devices]) => this.#infoOf(devices));
  }

  #infoOf(devices: readonly DeviceInfo[]): EngineInfo {
    for (const [index, thread] of this.#compute.entries()) {
      thread.stats = { ...thread.stats, device: devices[index]?.device ?? thread.stats.device };
    }
    const dtypes = new Set(devices.map(({ dtype }) => dtype));
    const [dtype = "float32", other] = dtypes;
    if (other !== undefined) {
      const choices = devices.map(({ device, dtype }) => `${dtype} on ${device}`).join(", ");
      throw new VlRewardError("usage", `With auto the devices compute in ${choices}; choose one dtype for all.`);
    }
    const { parameters = 0, hiddenSize = 0, notes = [] } = devices[0] ?? {}; // all hold the same model
    return {
      devices: devices.map(({ device }) => device),
      dtype,
      parameters,
      hiddenSize,
      untrained: devices.some(({ untrained }) => untrained),
      notes,
    };
  }

  #threadEnded(cause: Error): void {
    if (this.#end.signal.aborted) return;
    const reason = new VlRewardError("internal_error", `A thread of the engine has ended early: ${cause.message}`, {
      cause,
    });
    void this.close(reason);
  }

  #onPrepared(thread: PrepareThread, message: Extract<FromPrepare, { readonly id: number }>): void {
    const job = this.#underWay.get(message.id); // a fast compute thread has answered already, or the pipeline is closed
    if (message.kind === "opened") {
      job?.stay?.ask(message.bytes, () => post(thread, { kind: "room", id: message.id }));
      return;
    }
    this.#mediaSeconds += message.seconds;
    if (message.hasMedia) thread.preparing--;
    if (message.kind === "failed") {
      this.#answer(message.id, { error: fromWire(message.error) });
      return;
    }
    thread.pictures = message.pictures;
    job?.stay?.shrink(message.bytes);
    this.#advance();
  }

  #onComputed(thread: ComputeThread, message: Extract<FromCompute, { readonly kind: "pass" | "forgotten" }>): void {
    if (message.kind === "forgotten") {
      this.#answer(message.id, undefined);
      return;
    }
    const { stats } = thread;
    const { seconds, inside, caches } = message;
    thread.stats = { ...stats, sequencesInside: inside, computeSeconds: stats.computeSeconds + seconds, caches };
    for (const result of message.results) this.#answer(result.id, this.#resultOf(thread, result));
  }

  #resultOf(thread: ComputeThread, result: PassResult): ReadResult {
    if ("error" in result) return { error: fromWire(result.error) };
    const { id: _, ...found } = result;
    const { stats } = thread;
    const sequences = stats.sequences + found.answers.length;
    thread.stats = { ...stats, sequences, tokens: stats.tokens + found.tokens };
    return found;
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

  #forget(id: number): void {
    const index = this.#waiting.findIndex((job) => job.id === id);
    if (index !== -1) this.#waiting.splice(index, 1);
    else post(this.#underWay.get(id)?.thread, { kind: "forget", id });
  }

  /** Hands out as many waiting groups as threads can take, the most urgent first; text alone need not wait for media. */
  #advance(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#prepare.reduce((least, other) => (other.preparing < least.preparing ? other : least));
      const isFull = thread.preparing >= preparedAtOnce;
      const [job] = this.#waiting.filter(({ hasMedia }) => !(hasMedia && isFull)).sort(byUrgency);
      if (!job) return;
      this.#waiting.splice(this.#waiting.indexOf(job), 1);
      const { id, group, ask, priority, resolve, reject } = job;
      try {
        post(thread, { kind: "prepare", id, group, ask });
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        resolve({ error: new VlRewardError("invalid_record", `a group must be plain data: ${reason}`, { cause }) });
        continue;
      }
      for (const other of this.#waiting) other.passedOver++;
      const stay = job.hasMedia ? this.#room.book(id) : undefined;
      this.#underWay.set(id, { id, priority, resolve, reject, thread, stay });
      if (job.hasMedia) thread.preparing++;
    }
  }
}

function startThread<Task>(program: string, task: Task, transferList: MessagePort[]): Worker {
  // Flags of the caller's process may not suit a thread: --input-type, loaders for its own sources.
  return new Worker(new URL(program, import.meta.url), { workerData: task, transferList, execArgv: [] });
}

function post(thread: PrepareThread | undefined, message: ToPrepare): void {
  thread?.worker.postMessage(message);
}
