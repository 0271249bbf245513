/**
 * @file Threads that read, decode, resize and tokenize beside the arithmetic: the engine's prepare threads, whose prompts
 * come back here.
 */

import { MessageChannel, Worker } from "node:worker_threads";
import type { PixelLimits } from "../../conversation.ts";
import type { Group } from "../../engine/group.ts";
import { DeviceLoad } from "../../engine/threads/device-load.ts";
import type { FromPrepare, PrepareTask, Prompt, ToPrepare } from "../../engine/threads/messages.ts";
import { VlRewardError } from "../../errors.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import type { GroupPrompt } from "../../models/prompt.ts";
import { RequestPool } from "../../tasks/request-pool.ts";
import { fromWire } from "../../tasks/wire-error.ts";

export class PreparePool {
  readonly #pool: RequestPool<GroupPrompt>;

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
          if (message.kind === "failed") pool.reject(message.id, fromWire(message.error));
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

  /** -> the group, ready for the model. Rejects with the codes of a record that cannot be prepared. */
  prepare(group: Group): Promise<GroupPrompt> {
    return this.#pool.ask((id) => ({ kind: "prepare", id, group, ask: { read: [] } }) satisfies ToPrepare);
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
