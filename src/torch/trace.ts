/**
 * @file Where the time goes: a tracer is told of every operator call, and of the spans that code further up names. Where
 * there is none, a call costs one comparison more.
 */

/**
 * Told of a call once it has returned. Calls nest: the inner ones are told first.
 *
 * @param name of the operator, "aten::linear", or of the span
 * @param begin as performance.now() has it, in milliseconds; `end` too. On a CUDA device an operator has only been
 * launched at its end, and who waits for it is the copy back.
 * @param inputs the operator's arguments; its tensors are to be looked at now, they are freed soon
 */
export type Tracer = (name: string, begin: number, end: number, inputs: readonly unknown[]) => void;

let current: Tracer | undefined;

/** Sets this thread's tracer; undefined takes it away. */
export function setTracer(tracer: Tracer | undefined): void {
  current = tracer;
}

/** Runs `body`, which may be asynchronous, as a span of the trace. One that throws or rejects leaves none. */
export function traced<T>(name: string, body: () => T, inputs: readonly unknown[] = []): T {
  const tracer = current;
  if (tracer === undefined) return body();
  const begin = performance.now();
  const result = body();
  const end = (): void => tracer(name, begin, performance.now(), inputs);
  if (result instanceof Promise) result.then(end, () => {});
  else end();
  return result;
}
