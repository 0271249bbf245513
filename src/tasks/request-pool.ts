/** @file Requests to threads that do one kind of work: each goes to the thread with the fewest, its answer comes back here. */
import type { Worker } from "node:worker_threads";

interface Thread {
  readonly worker: Worker;
  underWay: number;
}

interface Waiting<Answer> {
  readonly thread: Thread;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

export class RequestPool<Answer> {
  readonly #threads: readonly Thread[];
  readonly #waiting = new Map<number, Waiting<Answer>>();
  #nextId = 0;
  #broken: Error | undefined;

  /**
   * @param start starts one of `threads`; its answers come to `resolve` and `reject`, and what breaks it to `fail`
   * @param ended the error of a thread that ends without having been asked to
   */
  constructor(threads: number, start: (pool: RequestPool<Answer>) => Worker, ended: (cause?: Error) => Error) {
    this.#threads = Array.from({ length: threads }, () => {
      const worker = start(this);
      worker.on("error", (cause) => this.fail(ended(cause)));
      worker.on("exit", () => this.fail(ended()));
      return { worker, underWay: 0 };
    });
  }

  /**
   * Rejects once a thread has failed, after `close`, and where the message cannot be sent.
   *
   * @param message made of the request's number
   */
  ask(message: (id: number) => unknown): Promise<Answer> {
    if (this.#broken) return Promise.reject(this.#broken);
    const thread = this.#threads.reduce((least, other) => (other.underWay < least.underWay ? other : least));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      thread.worker.postMessage(message(id)); // first: what cannot be sent is not under way
      thread.underWay++;
      this.#waiting.set(id, { thread, resolve, reject });
    });
  }

  /** Says more to the thread that is at a request; nothing once that is answered. */
  tell(id: number, message: unknown): void {
    this.#waiting.get(id)?.thread.worker.postMessage(message);
  }

  resolve(id: number, answer: Answer): void {
    this.#take(id)?.resolve(answer);
  }

  reject(id: number, error: Error): void {
    this.#take(id)?.reject(error);
  }

  /** Rejects what is under way, and whatever is asked from now on. */
  fail(error: Error): void {
    this.#broken ??= error;
    for (const id of [...this.#waiting.keys()]) this.reject(id, error);
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  #take(id: number): Waiting<Answer> | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting) waiting.thread.underWay--;
    return waiting;
  }
}
