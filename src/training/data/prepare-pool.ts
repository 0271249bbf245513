/**
 * @file Threads that read, decode, resize and tokenize beside the arithmetic: the engine's prepare threads, whose prompts
 * come back here.
 */
import { MessageChannel, Worker } from "node:worker_threads";
import { VlRewardError } from "../../errors.ts";
import type { PixelLimits } from "../../models/conversation.ts";
import type { GroupPrompt } from "../../models/qwen2_5_vl/processor.ts";
import { DeviceLoad } from "../../reward/device-load.ts";
import type { Group } from "../../reward/group.ts";
import {
  type FromPrepare,
  fromWire,
  type PrepareTask,
  type Prompt,
  type ToPrepare,
} from "../../reward/thread-messages.ts";

interface Pending {
  readonly resolve: (prompt: GroupPrompt) => void;
  readonly reject: (error: Error) => void;
  readonly thread: PrepareThread;
}

interface PrepareThread {
  readonly worker: Worker;
  underWay: number;
}

export class PreparePool {
  readonly #threads: readonly PrepareThread[];
  readonly #pending = new Map<number, Pending>();
  #nextId = 0;

  /** @param folder the checkpoint whose processor prepares */
  constructor(folder: string, pixelLimits: PixelLimits, options: { threads: number; pictureBytes: number }) {
    this.#threads = Array.from({ length: options.threads }, () => {
      const { port1, port2 } = new MessageChannel();
      const task: PrepareTask = {
        folder,
        pixelLimits,
        pictureBytes: options.pictureBytes,
        trace: undefined,
        prompts: [port1],
        load: DeviceLoad.forDevices(1).buffer, // of one consumer: there is nothing to choose
      };
      const program = new URL("../../reward/prepare-thread.js", import.meta.url);
      const thread = {
        worker: new Worker(program, { workerData: task, transferList: [port1], execArgv: [] }),
        underWay: 0,
      };
      port2.on("message", (message: Prompt) => {
        if (message.kind === "prompt") this.#take(message.id)?.resolve(message.prompt);
      });
      thread.worker.on("message", (message: FromPrepare) => {
        if (message.kind === "failed") this.#take(message.id)?.reject(fromWire(message.error));
        else if (message.kind === "broken") this.#fail(fromWire(message.error));
      });
      thread.worker.on("error", (cause) => this.#fail(cause));
      return thread;
    });
  }

  /** -> the group, ready for the model. Rejects with the codes of a record that cannot be prepared. */
  prepare(group: Group): Promise<GroupPrompt> {
    const thread = this.#threads.reduce((least, other) => (other.underWay < least.underWay ? other : least));
    const id = this.#nextId++;
    thread.underWay++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, thread });
      thread.worker.postMessage({ kind: "prepare", id, group } satisfies ToPrepare);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (pending) pending.thread.underWay--;
    return pending;
  }

  #fail(cause: Error): void {
    const error =
      cause instanceof VlRewardError
        ? cause
        : new VlRewardError("internal_error", `A thread that prepares records has ended: ${cause.message}`, { cause });
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(error);
  }
}
