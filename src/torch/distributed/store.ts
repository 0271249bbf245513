/**
 * @file A store of small texts that the processes of one run share: c10d's TCPStore, kept by rank 0 or by the launcher.
 * Calls block their thread until the store has answered; the network gives up only when the connection breaks.
 */
import { VlRewardError } from "../../errors.ts";
import { type Handle, native } from "../native.ts";

export interface StorePlace {
  readonly host: string;
  readonly port: number;
  /** Whether this process keeps the store; the others are its clients. */
  readonly serve: boolean;
  /** Goes before every key. */
  readonly prefix: string;
}

export class Store implements Disposable {
  readonly #handle: Handle;
  #closed = false;

  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** Throws `distributed_failed` where no store answers within the time, or its port is taken. */
  static connect({ host, port, serve, prefix }: StorePlace, timeoutSeconds: number): Store {
    try {
      return new Store(native().openStore(host, port, serve, timeoutSeconds * 1000, prefix));
    } catch (cause) {
      const reason = firstLine(cause);
      const hint = serve
        ? "Is the port free on this machine? Set MASTER_PORT to another one."
        : `Does rank 0 run at ${host}, and can this machine reach it? Check MASTER_ADDR and MASTER_PORT.`;
      const doing = serve
        ? `Cannot keep a store at port ${port}`
        : `No store at ${host}:${port} after ${timeoutSeconds} s`;
      throw new VlRewardError("distributed_failed", `${doing}: ${reason}. ${hint}`, { cause });
    }
  }

  /** One that only this process sees. */
  static local(): Store {
    return new Store(native().localStore());
  }

  get handle(): Handle {
    return this.#handle;
  }

  set(key: string, value: string): void {
    answered(() => native().storeSet(this.#handle, key, value));
  }

  /** -> undefined where nobody has set the key yet */
  get(key: string): string | undefined {
    return answered(() => native().storeGet(this.#handle, key)) ?? undefined;
  }

  /** Adds to a counter that starts at 0, in one step for all processes. -> the sum */
  add(key: string, amount: number): number {
    return answered(() => native().storeAdd(this.#handle, key, amount));
  }

  /** Waits until all keys are set, or for the time. -> those that are missing */
  wait(keys: readonly string[], timeoutSeconds: number): string[] {
    return answered(() => native().storeWait(this.#handle, [...keys], timeoutSeconds * 1000));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    native().closeStore(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function answered<T>(body: () => T): T {
  try {
    return body();
  } catch (cause) {
    throw new VlRewardError("distributed_failed", `The store of this run cannot be reached: ${firstLine(cause)}.`, {
      cause,
    });
  }
}

/** Libtorch's message without the stack, hints and advice that follow its first sentence. */
export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split(/\n|\. /, 1)[0]?.replace(/\.$/, "") ?? "";
}
