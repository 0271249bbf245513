/**
 * @file Many things under way at once, their results in the order of the source, the source read ahead within a bound.
 */

import { setMaxListeners } from "node:events";

export interface InOrderOptions<Item> {
  /** How many items are read and not yet given back as results, at most. */
  readonly ahead: number;
  /** What an item weighs; no further one is read while those under way weigh more than `maxWeight`. */
  readonly weight: (item: Item) => number;
  readonly maxWeight: number;
  /** Ends the run: the next result is a rejection with its reason, whatever the source and the work are waiting for. */
  readonly signal?: AbortSignal | undefined;
  /** As `signal`: the end of what the work is done with. */
  readonly ended?: AbortSignal | undefined;
}

/**
 * Calls `work` for each item as soon as it is read, and yields its results in the order of the items. The source is read
 * in the background from the first `next()` on. Rejects where the source or the work does, after the results before it.
 * Leaving the loop ends the run as the signal does.
 *
 * @param work is given a signal that aborts when the run ends, and must reject then
 */
export async function* inOrder<Item, Result>(
  source: AsyncIterable<Item> | Iterable<Item>,
  work: (item: Item, signal: AbortSignal) => Promise<Result>,
  options: InOrderOptions<Item>,
): AsyncGenerator<Result, void, undefined> {
  const stop = new AbortController();
  const ended = stop.signal;
  setMaxListeners(0, ended); // one for each item under way is no leak
  for (const signal of [options.signal, options.ended]) signal?.throwIfAborted();
  const items = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  const unlink = [options.signal, options.ended].map((signal) => signal && follow(signal, stop));
  const state = { reading: false, finished: false };
  let weight = 0;
  let resume = () => {}; // reading, where it waits for the weight to fall

  const read = async (before: Promise<IteratorResult<Item>> | undefined): Promise<IteratorResult<Item>> => {
    const previous = await before;
    if (previous?.done) return previous;
    while (weight > options.maxWeight) {
      const lighter = new Promise<void>((resolve) => {
        resume = resolve;
      });
      await unlessAborted(lighter, ended);
    }
    ended.throwIfAborted();
    state.reading = true;
    try {
      const next = await unlessAborted(Promise.resolve(items.next()), ended);
      state.reading = false;
      state.finished = next.done === true;
      return next;
    } catch (error) {
      state.finished = !ended.aborted; // by an error of its own
      throw error;
    }
  };

  const workOn = async (item: Item): Promise<{ result: Result; weight: number }> => {
    const own = options.weight(item);
    weight += own;
    return { result: await work(item, ended), weight: own };
  };

  let lastRead: ReturnType<typeof read> | undefined;
  const slots: Promise<{ result: Result; weight: number } | undefined>[] = []; // undefined after the last
  const addSlot = () => {
    const next = read(lastRead);
    lastRead = next;
    const slot = next.then((item) => (item.done ? undefined : workOn(item.value)));
    slot.catch(() => {}); // is awaited later, or not at all when the run ends before it
    slots.push(slot);
  };

  try {
    while (slots.length < options.ahead) addSlot();
    for (;;) {
      const done = await slots.shift();
      ended.throwIfAborted();
      if (done === undefined) return;
      weight -= done.weight;
      resume();
      addSlot();
      yield done.result;
      ended.throwIfAborted();
    }
  } finally {
    for (const leave of unlink) leave?.();
    stop.abort();
    if (!state.finished) {
      const closed = Promise.resolve(items.return?.());
      // A source that is itself waiting for something cannot be waited for.
      if (state.reading) closed.catch(() => {});
      else await closed;
    }
  }
}

/**
 * Aborts `stop` when the signal, which has not yet, aborts -> a function that ends that. By a listener of our own: of composites made by
 * `AbortSignal.any`, Node keeps those that have aborted for as long as their source lives (nodejs/node#55351).
 */
function follow(signal: AbortSignal, stop: AbortController): () => void {
  const abort = () => stop.abort(signal.reason);
  setMaxListeners(0, signal); // one for each run is no leak
  signal.addEventListener("abort", abort);
  return () => signal.removeEventListener("abort", abort);
}

/** As `promise`, but rejects with the signal's reason as soon as it aborts. Leaves no listener behind. */
export function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
