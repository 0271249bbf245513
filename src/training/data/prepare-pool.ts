/**
 * @file Threads that read, decode, resize and tokenize beside the arithmetic: the engine's prepare threads, whose prompts
 * come back here. Pictures and videos are decoded when there is room for them.
 */

import { MessageChannel, Worker } from "node:worker_threads";
import type { PixelLimits } from "../../conversation.ts";
import type { Group } from "../../engine/group.ts";
import { promptBytes } from "../../engine/pass/plan.ts";
import { DeviceLoad } from "../../engine/threads/device-load.ts";
import type { FromPrepare, PrepareTask, Prompt, ToPrepare } from "../../engine/threads/messages.ts";
import { VlRewardError } from "../../errors.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import type { GroupPrompt } from "../../models/prompt.ts";
import { unlessAborted } from "../../tasks/in-order.ts";
import { RequestPool } from "../../tasks/request-pool.ts";
import type { Stay } from "../../tasks/room.ts";
import { fromWire } from "../../tasks/wire-error.ts";

/** What a group is prepared with. */
export interface Place {
  /** For its pictures and videos; whoever has booked it leaves it. */
  readonly stay: Stay;
  /** Aborts when nobody wants the group any more. */
  readonly signal: AbortSignal;
}

export class PreparePool {
  readonly #pool: RequestPool<GroupPrompt>;
  readonly #stays = new Map<number, Stay>(); // of requests under way

  /** @param folder the checkpoint whose processor prepares */
  constructor(
    folder: string,
    pixelLimits: PixelLimits,
    media: MediaPolicy,
    options: { threads: number; pictureBytes: number },
  ) {
    this.#pool = new RequestPool(
      options.threads,
      (pool) => {
        const { port1, port2 } = new MessageChannel();
        const task: PrepareTask = {
          folder,
          pixelLimits,
          media,
          pictureBytes: options.pictureBytes,
          trace: undefined,
          prompts: [port1],
          load: DeviceLoad.forDevices(1).buffer, // of one consumer: there is nothing to choose
        };
        const program = new URL("../../engine/threads/prepare-thread.js", import.meta.url);
        const worker = new Worker(program, { workerData: task, transferList: [port1], execArgv: [] });
        port2.on("message", (message: Prompt) => {
          if (message.kind === "prompt") pool.resolve(message.id, message.prompt);
        });
        worker.on("message", (message: FromPrepare) => {
          if (message.kind === "opened") this.#onOpened(message.id, message.bytes);
          else if (message.kind === "failed") pool.reject(message.id, fromWire(message.error));
          else if (message.kind === "broken") pool.fail(fromWire(message.error));
        });
        return worker;
      },
      (cause) =>
        new VlRewardError(
          "internal_error",
          `A thread that prepares records has ended${cause ? `: ${cause.message}` : ""}`,
          { cause },
        ),
    );
  }

  /** Rejects with the codes of a record that cannot be prepared, and with the signal's reason when that aborts. */
  async prepare(group: Group, { stay, signal }: Place): Promise<GroupPrompt> {
    signal.throwIfAborted();
    let own = -1;
    const prompt = this.#pool.ask((id) => {
      own = id;
      this.#stays.set(id, stay);
      return { kind: "prepare", id, group, ask: { read: [] } } satisfies ToPrepare;
    });
    try {
      const prepared = await unlessAborted(prompt, signal);
      stay.shrink(promptBytes(prepared));
      return prepared;
    } catch (error) {
      if (signal.aborted) this.#pool.tell(own, { kind: "forget", id: own } satisfies ToPrepare);
      throw error;
    } finally {
      this.#stays.delete(own);
    }
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  #onOpened(id: number, bytes: number): void {
    this.#stays.get(id)?.ask(bytes, () => this.#pool.tell(id, { kind: "room", id } satisfies ToPrepare));
  }
}
