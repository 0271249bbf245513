/**
 * @file The engine's threads as one set: prepare threads, a compute thread for each device, and the ways between them. A set whose
 * threads are all well is ready; one of which a thread has died is ended as a whole, and pipeline.ts starts another.
 */

import { availableParallelism } from "node:os";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { PixelLimits } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import { fromWire, type WireError } from "../../tasks/wire-error.ts";
import { deviceWords } from "../../torch/index.ts";
import { memoryBudget, preparedBytes } from "../machine/memory.ts";
import type { ComputeOptions } from "../pass/pass.ts";
import { DeviceLoad } from "./device-load.ts";
import type {
  ComputeTask,
  DeviceInfo,
  EngineInfo,
  FromCompute,
  FromPrepare,
  PrepareTask,
  ToPrepare,
} from "./messages.ts";
import type { TraceTarget } from "./trace-file.ts";

/** What the threads are started with. */
export interface ThreadsTask {
  /** Its device may be several, as deviceWords reads them: each has a thread and a model of its own. */
  readonly options: ComputeOptions;
  readonly pixelLimits: PixelLimits;
  readonly media: MediaPolicy;
  readonly trace: TraceTarget | undefined;
}

/** Which thread: of those that prepare, or of the devices'. */
export interface ThreadName {
  readonly kind: "prepare" | "compute";
  readonly index: number;
}

export interface ThreadsListener {
  onPrepare(thread: number, message: Exclude<FromPrepare, { readonly kind: "ready" | "broken" }>): void;
  onCompute(device: number, message: Exclude<FromCompute, { readonly kind: "ready" | "broken" }>): void;
  /** Once, of the first that has ended though nobody told it to, after all were ready. */
  onDeath(thread: ThreadName, cause: Error): void;
}

/** As many as the devices can use. */
const prepareThreads = (devices: number): number =>
  Math.max(1, Math.min(4 * devices, Math.floor(availableParallelism() / 2)));

export class EngineThreads {
  readonly #compute: readonly Worker[];
  readonly #prepare: readonly Worker[];
  readonly #listener: ThreadsListener;
  /** ready: all have loaded the model; ended: told to end, or one has died. */
  #state: "loading" | "ready" | "ended" = "loading";

  constructor({ options, pixelLimits, media, trace }: ThreadsTask, listener: ThreadsListener) {
    this.#listener = listener;
    const devices = deviceWords(options.device);
    const threads = prepareThreads(devices.length);
    const { buffer: load } = DeviceLoad.forDevices(devices.length);
    const sharers = Math.max(1, devices.filter((device) => device === "cpu").length); // "auto" may become the CPU
    // From each prepare thread to each device.
    const channels = Array.from({ length: threads }, () => devices.map(() => new MessageChannel()));
    this.#compute = devices.map((device, index) => {
      const prompts = channels.flatMap((row) => row.slice(index, index + 1)).map(({ port2 }) => port2);
      const task = { options: { ...options, device, sharers }, trace, prompts, device: index, load };
      return startThread<ComputeTask>("./compute-thread.js", task, prompts);
    });
    const { folder, base } = options;
    const pictureBytes = Math.floor(preparedBytes(options.memory ?? memoryBudget(undefined)) / threads);
    this.#prepare = channels.map((row) => {
      const prompts = row.map(({ port1 }) => port1);
      const task = { folder, base, pixelLimits, media, pictureBytes, trace, prompts, load };
      return startThread<PrepareTask>("./prepare-thread.js", task, prompts);
    });
  }

  get prepareCount(): number {
    return this.#prepare.length;
  }

  /** Resolves once all threads have loaded the model. Rejects with the first error of one of them. To be called once. */
  async ready(): Promise<EngineInfo> {
    const deaths = [...this.#compute, ...this.#prepare].map((worker, at) => this.#watched(worker, this.#nameOf(at)));
    const loaded = this.#compute.map(
      (worker, device) =>
        new Promise<DeviceInfo>((resolve, reject) => {
          worker.on("message", (message: FromCompute) => {
            if (message.kind === "ready") resolve(message.info);
            else if (message.kind === "broken") reject(this.#broken(message.error));
            else if (this.#state === "ready") this.#listener.onCompute(device, message);
          });
        }),
    );
    const prepared = this.#prepare.map(
      (worker, thread) =>
        new Promise<TextInfo>((resolve, reject) => {
          worker.on("message", (message: FromPrepare) => {
            if (message.kind === "ready") resolve(message);
            else if (message.kind === "broken") reject(this.#broken(message.error));
            else if (this.#state === "ready") this.#listener.onPrepare(thread, message);
          });
        }),
    );
    const all = Promise.all([Promise.all(loaded), ...prepared]);
    const [devices, texts] = await Promise.race([all, ...deaths]);
    if (this.#state === "loading") this.#state = "ready";
    return { ...infoOf(devices), ...(texts ?? { maxTokens: 0, readsMedia: false }) };
  }

  post(thread: number, message: ToPrepare): void {
    this.#prepare[thread]?.postMessage(message);
  }

  /** Ends all, the running pass too. Nothing is heard of them from now on. */
  async end(): Promise<void> {
    this.#state = "ended";
    await Promise.all([...this.#compute, ...this.#prepare].map((worker) => worker.terminate()));
  }

  /** A thread that has said why it cannot begin ends then, which is no news. */
  #broken(error: WireError): VlRewardError {
    this.#state = "ended";
    return fromWire(error);
  }

  #nameOf(at: number): ThreadName {
    const devices = this.#compute.length;
    return at < devices ? { kind: "compute", index: at } : { kind: "prepare", index: at - devices };
  }

  /** Rejects where the thread ends while the model is loaded; later its end is told to the listener. */
  #watched(worker: Worker, name: ThreadName): Promise<never> {
    return new Promise((_, reject) => {
      const ended = (cause: Error) => {
        if (this.#state === "loading") reject(threadEnded(cause));
        if (this.#state !== "ready") return;
        this.#state = "ended";
        this.#listener.onDeath(name, cause);
      };
      worker.on("error", ended);
      worker.on("exit", (code) => ended(new Error(`exit code ${code}`)));
    });
  }
}

type TextInfo = Pick<EngineInfo, "maxTokens" | "readsMedia">;

export const threadEnded = (cause: Error): VlRewardError =>
  new VlRewardError("internal_error", `A thread of the engine has ended early: ${cause.message}`, { cause });

function infoOf(devices: readonly DeviceInfo[]): Omit<EngineInfo, keyof TextInfo> {
  const [dtype = "float32", other] = new Set(devices.map(({ dtype }) => dtype));
  if (other !== undefined) {
    const choices = devices.map(({ device, dtype }) => `${dtype} on ${device}`).join(", ");
    throw new VlRewardError("usage", `With auto the devices compute in ${choices}; choose one dtype for all.`);
  }
  const { parameters = 0, hiddenSize = 0, label = "", notes = [] } = devices[0] ?? {}; // all hold the same model
  return {
    devices: devices.map(({ device }) => device),
    dtype,
    parameters,
    hiddenSize,
    untrained: devices.some(({ untrained }) => untrained),
    label,
    notes,
  };
}

function startThread<Task>(program: string, task: Task, transferList: MessagePort[]): Worker {
  // Flags of the caller's process may not suit a thread: --input-type, loaders for its own sources.
  return new Worker(new URL(program, import.meta.url), { workerData: task, transferList, execArgv: [] });
}
