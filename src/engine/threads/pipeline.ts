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
import { fromWire } from "../../tasks/wire-error.ts";
import { deviceWords } from "../../torch/index.ts";
import type { Group, GroupResult } from "../group.ts";
import { memoryBudget, preparedBytes } from "../machine/memory.ts";
import { type CacheStats, sumOfStats } from "../pass/byte-cache.ts";
import type { ScorerOptions } from "../pass/scorer.ts";
import { DeviceLoad } from "./device-load.ts";
import { type DeviceStats, type EngineStats, engineStats, nothingYet } from "./device-stats.ts";
import type {
  ComputeTask,
  DeviceInfo,
  EngineInfo,
  FromCompute,
  FromPrepare,
  PassResult,
  PrepareTask,
  ToPrepare,
} from "./messages.ts";
import type { TraceTarget } from "./trace-file.ts";

/** Groups that a thread prepares at once. Most of them wait, for a disk or an address. */
const preparedAtOnce = 8;

/** As many as the devices can use. */
const prepareThreads = (devices: number): number =>
  Math.max(1, Math.min(4 * devices, Math.floor(availableParallelism() / 2)));

interface Job {
  readonly id: number;
  readonly group: Group;
  readonly settle: (result: GroupResult) => void;
}

/** A job on a thread: from its preparation to its answer. The group itself is not kept here. */
interface JobUnderWay {
  readonly settle: Job["settle"];
  readonly thread: PrepareThread;
  bytes: number; // of its prompt, once that is prepared
}

interface PrepareThread {
  readonly worker: Worker;
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
  readonly #waiting: Job[] = [];
  readonly #underWay = new Map<number, JobUnderWay>();
  readonly #end = new AbortController();
  /** For prompts that wait for the arithmetic; at most one group more, so that any group can be scored. */
  readonly #maxPreparedBytes: number;
  #mediaSeconds = 0;
  #nextId = 0;
  #preparedBytes = 0;
  #expectedBytes = 0; // of the next prompt: as large as the largest of late

  private constructor(compute: readonly ComputeThread[], prepare: readonly Worker[], maxPreparedBytes: number) {
    this.#compute = compute;
    this.#prepare = prepare.map((worker) => ({ worker, preparing: 0, pictures: sumOfStats([]) }));
    this.#maxPreparedBytes = maxPreparedBytes;
  }

  /**
   * Starts the threads and waits until they have loaded the model. Rejects with the first error of one of them.
   *
   * @param scorer its device may be several, as deviceWords reads them: each has a thread and a model of its own
   */
  static async start(
    scorer: ScorerOptions,
    pixelLimits: PixelLimits,
    media: MediaPolicy,
    trace: TraceTarget | undefined,
  ): Promise<{ pipeline: Pipeline; info: EngineInfo }> {
    const devices = deviceWords(scorer.device);
    const threads = prepareThreads(devices.length);
    const { buffer: load } = DeviceLoad.forDevices(devices.length);
    const sharers = Math.max(1, devices.filter((device) => device === "cpu").length); // "auto" may become the CPU
    // From each prepare thread to each device.
    const channels = Array.from({ length: threads }, () => devices.map(() => new MessageChannel()));
    const compute = devices.map((device, index) => {
      const prompts = channels.flatMap((row) => row.slice(index, index + 1)).map(({ port2 }) => port2);
      const task = { scorer: { ...scorer, device, sharers }, trace, prompts, device: index, load };
      return { worker: startThread<ComputeTask>("./compute-thread.js", task, prompts), stats: nothingYet(device) };
    });
    const prepared = preparedBytes(scorer.memory ?? memoryBudget(undefined));
    const { folder } = scorer;
    const pictureBytes = Math.floor(prepared / threads);
    const prepare = channels.map((row) => {
      const prompts = row.map(({ port1 }) => port1);
      const task = { folder, pixelLimits, media, pictureBytes, trace, prompts, load };
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
      this.#mediaSeconds,
      pictures,
    );
  }

  /** Aborts when the pipeline is closed or one of its threads has ended. */
  get ended(): AbortSignal {
    return this.#end.signal;
  }

  /**
   * Resolves to a group's scores or its error. Rejects when the signal aborts, with its reason: at once, though a pass
   * that is running is not interrupted.
   *
   * @param signal aborts with `ended` at the latest
   */
  submit(group: Group, signal: AbortSignal): Promise<GroupResult> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        reject(signal.reason);
        this.#forget(job.id);
      };
      const settle = (result: GroupResult) => {
        signal.removeEventListener("abort", abort);
        resolve(result);
      };
      const job = { id: this.#nextId++, group, settle };
      if (signal.aborted) return reject(signal.reason);
      setMaxListeners(0, signal); // one for each group under way is no leak
      signal.addEventListener("abort", abort, { once: true });
      this.#waiting.push(job);
      this.#advance();
    });
  }

  /** Ends the threads, the running pass too. What was submitted and is not settled rejects with `reason`. */
  async close(reason: unknown): Promise<void> {
    this.#end.abort(reason);
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
    return {
      devices: devices.map(({ device }) => device),
      dtype,
      parameters: devices[0]?.parameters ?? 0, // all hold the same model
      untrained: devices.some(({ untrained }) => untrained),
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
    thread.preparing--;
    this.#mediaSeconds += message.seconds;
    if (message.kind === "failed") {
      this.#answer(message.id, { error: fromWire(message.error) });
      return;
    }
    thread.pictures = message.pictures;
    this.#expectedBytes = Math.max(message.bytes, 0.9 * this.#expectedBytes);
    const job = this.#underWay.get(message.id); // a fast compute thread has answered already
    if (job) {
      job.bytes = message.bytes;
      this.#preparedBytes += message.bytes;
    }
    this.#advance();
  }

  #onComputed(thread: ComputeThread, message: Extract<FromCompute, { readonly kind: "pass" | "forgotten" }>): void {
    if (message.kind === "forgotten") {
      this.#answer(message.id, undefined);
      return;
    }
    const { stats } = thread;
    thread.stats = { ...stats, computeSeconds: stats.computeSeconds + message.seconds, caches: message.caches };
    for (const result of message.results) this.#answer(result.id, this.#resultOf(thread, result));
  }

  #resultOf(thread: ComputeThread, result: PassResult): GroupResult {
    if ("error" in result) return { error: fromWire(result.error) };
    const { scores, tokens } = result;
    const { stats } = thread;
    thread.stats = { ...stats, sequences: stats.sequences + scores.length, tokens: stats.tokens + tokens };
    return { scores, tokens };
  }

  #answer(id: number, result: GroupResult | undefined): void {
    const job = this.#underWay.get(id);
    if (!job) throw new Error(`group ${id} was answered twice`);
    this.#underWay.delete(id);
    this.#preparedBytes -= job.bytes;
    if (result) job.settle(result);
    this.#advance();
  }

  #forget(id: number): void {
    const index = this.#waiting.findIndex((job) => job.id === id);
    if (index !== -1) this.#waiting.splice(index, 1);
    else post(this.#underWay.get(id)?.thread, { kind: "forget", id });
  }

  /** Hands out as many waiting groups as there is room for. */
  #advance(): void {
    for (let job = this.#waiting[0]; job !== undefined; job = this.#waiting[0]) {
      const thread = this.#prepare.reduce((least, other) => (other.preparing < least.preparing ? other : least));
      const preparing = this.#prepare.reduce((sum, { preparing }) => sum + preparing, 0);
      const bytes = this.#preparedBytes + (preparing + 1) * this.#expectedBytes;
      if (thread.preparing >= preparedAtOnce || (bytes > this.#maxPreparedBytes && this.#underWay.size > 0)) return;
      this.#waiting.shift();
      try {
        post(thread, { kind: "prepare", id: job.id, group: job.group });
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        job.settle({ error: new VlRewardError("invalid_record", `a group must be plain data: ${reason}`, { cause }) });
        continue;
      }
      this.#underWay.set(job.id, { settle: job.settle, thread, bytes: 0 });
      thread.preparing++;
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
