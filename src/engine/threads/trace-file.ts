/**
 * @file A trace of a run for chrome://tracing and ui.perfetto.dev: what each thread did when, in the trace event format.
 * All threads write into one file, a part at a time, so that a run of any length holds little of it in memory. A thread
 * writes what it has told in one call of the system, which appends whole; the file is an array from its first byte on, and
 * closed at the end.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { fstatSync, ftruncateSync, writeSync } from "node:fs";
import { threadId } from "node:worker_threads";
import { VlRewardError } from "../../errors.ts";
import { setTracer, Tensor } from "../../torch/index.ts";

/** Where a thread's events go: plain data, which threads can be started with. */
export interface TraceTarget {
  /** A file descriptor. */
  readonly file: number;
  /** When the trace began: performance.timeOrigin + performance.now(), which is one clock for all threads. */
  readonly start: number;
  /** An Int32: open, ended or failed. */
  readonly state: SharedArrayBuffer;
}

const [open, ended, failed] = [0, 1, 2];

/** What a thread holds back at most: characters, and milliseconds as long as something goes on. */
const held = { characters: 2 ** 16, milliseconds: 200 };

/**
 * Begins a trace in an empty or emptied file. Throws `output_unwritable` for what is no regular file, into which threads
 * could not write without getting into each other's way.
 */
export function beginTrace(file: number): TraceTarget {
  if (!fstatSync(file).isFile()) {
    throw new VlRewardError("output_unwritable", "A trace can only be written into a regular file; name one.");
  }
  ftruncateSync(file);
  const name = { name: "process_name", ph: "M", pid: process.pid, args: { name: "vl-reward" } };
  const target = { file, start: performance.timeOrigin + performance.now(), state: new SharedArrayBuffer(4) };
  append(target, `[\n${JSON.stringify(name)}`);
  check(target);
  return target;
}

/**
 * Ends a trace, once; nothing is written after that. Its threads should have ended, or what they last did is missing.
 * Throws `output_unwritable` where the file is not whole.
 */
export function endTrace(target: TraceTarget): void {
  append(target, "\n]\n");
  check(target);
  Atomics.store(new Int32Array(target.state), 0, ended);
}

function check({ state }: TraceTarget): void {
  if (Atomics.load(new Int32Array(state), 0) !== failed) return;
  throw new VlRewardError("output_unwritable", "The trace could not be written to its end; is the disk full?");
}

/** A write that fails must not fail what is being traced: it ends the trace, and endTrace says so. */
function append({ file, state }: TraceTarget, text: string): void {
  const flag = new Int32Array(state);
  if (Atomics.load(flag, 0) !== open) return;
  const bytes = Buffer.from(text);
  try {
    for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
  } catch {
    Atomics.store(flag, 0, failed);
  }
}

/** What this thread does from now on goes into the trace, if there is one. `name` is what a viewer calls the thread. */
export function traceThread(target: TraceTarget | undefined, name: string): ThreadTrace | undefined {
  return target && new ThreadTrace(target, name);
}

/** This thread's part of a trace. */
export class ThreadTrace {
  readonly #target: TraceTarget;
  readonly #name: string;
  readonly #origin: number; // performance.now() of the trace's beginning
  readonly #lane = new AsyncLocalStorage<number>();
  readonly #named = new Set<number>();
  readonly #busy = new Set<number>();
  #text = "";
  #flushed = performance.now();

  constructor(target: TraceTarget, name: string) {
    this.#target = target;
    this.#name = name;
    this.#origin = target.start - performance.timeOrigin;
    setTracer((name, begin, end, inputs) => this.#tell(name, begin, end, inputs));
  }

  /**
   * Runs what may wait while the thread does other things: spans lie inside each other in a lane of their own, where those
   * of work that goes on at the same time would cross.
   */
  async inLane<T>(body: () => Promise<T>): Promise<T> {
    let lane = 1;
    while (this.#busy.has(lane)) lane++;
    this.#busy.add(lane);
    try {
      return await this.#lane.run(lane, body);
    } finally {
      this.#busy.delete(lane);
    }
  }

  /** Writes what has been told. To be called before others are told that something is done: they may end the thread. */
  flush(): void {
    append(this.#target, this.#text);
    this.#text = "";
    this.#flushed = performance.now();
  }

  /** Ends this thread's part. */
  end(): void {
    setTracer(undefined);
    this.flush();
  }

  #tell(name: string, begin: number, end: number, inputs: readonly unknown[]): void {
    const [ts, until] = [this.#microseconds(begin), this.#microseconds(end)];
    const span = { name, ph: "X", ts, dur: Math.round(10 * (until - ts)) / 10, ...this.#place() };
    if (isOperator(name)) {
      const shapes = inputs.filter((input) => input instanceof Tensor).map(({ shape }) => shape.join(" x "));
      this.#add({ ...span, cat: "operator", args: { ...(shapes.length > 0 && { shapes }) } });
    } else {
      const [of] = inputs;
      this.#add({ ...span, cat: "phase", args: { ...(of !== undefined && { of }) } });
    }
    if (this.#text.length > held.characters || end - this.#flushed > held.milliseconds) this.flush();
  }

  /** A moment of performance.now() since the trace began, to a tenth: both ends of a span are rounded alike. */
  #microseconds(moment: number): number {
    return Math.round(10_000 * (moment - this.#origin)) / 10;
  }

  /** Where a viewer draws what is told now: a thread's lanes are threads to it. */
  #place(): { pid: number; tid: number } {
    const lane = this.#lane.getStore() ?? 0;
    const place = { pid: process.pid, tid: 1000 * threadId + lane };
    if (!this.#named.has(lane)) {
      this.#named.add(lane);
      const name = `${this.#name} ${threadId}${lane > 0 ? `, lane ${lane}` : ""}`;
      this.#add({ name: "thread_name", ph: "M", ...place, args: { name } });
    }
    return place;
  }

  #add(event: object): void {
    this.#text += `,\n${JSON.stringify(event)}`;
  }
}

/** Other names are spans, which operators and further spans lie in. */
const isOperator = (name: string): boolean => /::|^copy |^free$/.test(name);
