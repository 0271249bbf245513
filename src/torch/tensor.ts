/**
 * @file Tensors and the scopes that free them. JavaScript's garbage collector does not see a tensor's memory, so
 * arithmetic runs inside `scope`, which frees all that it does not return. Long-lived tensors (weights, caches) are
 * taken out of their scopes by `keep` and disposed of by their owner. A finalizer is only the backstop.
 */
import { VlRewardError } from "../errors.ts";
import { type Handle, native, type TypedArray, translated } from "./native.ts";
import { traced } from "./trace.ts";

export type Dtype =
  | "float32"
  | "float64"
  | "bfloat16"
  | "float16"
  | "int64"
  | "int32"
  | "int16"
  | "int8"
  | "uint8"
  | "bool";

/** "cpu" or "cuda:0". */
export type Device = string;

/** The typed array that holds each dtype's elements; the 16-bit floats come as their bits. */
const arrayTypes = {
  float32: Float32Array,
  float64: Float64Array,
  bfloat16: Uint16Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const;

export const bytesPerElement = (dtype: Dtype): number => arrayTypes[dtype].BYTES_PER_ELEMENT;

/** The tensors of the innermost scope, or undefined outside all scopes. */
let innermost: Set<Tensor> | undefined;

const abandoned = new FinalizationRegistry<Handle>((handle) => native().free([handle]));

const disposed = -1;

export class Tensor implements Disposable {
  #handle: Handle;
  #shape: readonly number[] | undefined;
  #scope: Set<Tensor> | undefined; // where it will be freed; not always the innermost

  /** Wraps a handle that nobody else owns. Only this room makes tensors this way. */
  constructor(handle: Handle) {
    this.#handle = handle;
    this.#enter(innermost);
  }

  /** Throws `use_after_dispose` once the tensor is freed. */
  get handle(): Handle {
    if (this.#handle === disposed) {
      throw new VlRewardError(
        "use_after_dispose",
        `A tensor ${this.#shape ? `of shape [${this.#shape}] ` : ""}was used after it was freed. ` +
          "Return it from its scope, or take it out with keep().",
      );
    }
    return this.#handle;
  }

  get isDisposed(): boolean {
    return this.#handle === disposed;
  }

  get shape(): readonly number[] {
    const handle = this.handle;
    this.#shape ??= native().shape(handle);
    return this.#shape;
  }

  /** The length of one dimension; a negative one counts from the end. Throws where there is none. */
  size(dimension: number): number {
    const length = this.shape.at(dimension);
    if (length === undefined) {
      throw new VlRewardError("operator_failed", `A tensor of shape [${this.shape}] has no dimension ${dimension}.`);
    }
    return length;
  }

  get elements(): number {
    return this.shape.reduce((product, length) => product * length, 1);
  }

  get dtype(): Dtype {
    return native().dtype(this.handle) as Dtype;
  }

  get device(): Device {
    return native().device(this.handle);
  }

  get requiresGrad(): boolean {
    return native().requiresGrad(this.handle);
  }

  /** Asks autograd for a gradient with respect to this leaf. */
  setRequiresGrad(on: boolean): this {
    translated(() => native().setRequiresGrad(this.handle, on));
    return this;
  }

  /** The elements in row-major order, read with one copy; bfloat16 and float16 as their bits. */
  toTypedArray(): TypedArray {
    const target = new arrayTypes[this.dtype](this.elements);
    traced("copy out", () => translated(() => native().readInto(this.handle, target)));
    return target;
  }

  /** As toTypedArray, for a float32 tensor. */
  toFloat32Array(): Float32Array {
    const array = this.toTypedArray();
    if (array instanceof Float32Array) return array;
    throw new VlRewardError("operator_failed", `Expected a float32 tensor to read, got ${this.dtype}.`);
  }

  dispose(): void {
    if (this.#handle === disposed) return;
    traced("free", () => native().free([this.release()]));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Gives the handle up without freeing it; scopes free theirs in one call. */
  release(): Handle {
    const handle = this.handle;
    this.#leave();
    this.#handle = disposed;
    return handle;
  }

  /** Hands the tensor to another scope, or to nobody: then its owner disposes of it. */
  moveTo(scope: Set<Tensor> | undefined): void {
    this.#leave();
    this.#enter(scope);
  }

  #enter(scope: Set<Tensor> | undefined): void {
    this.#scope = scope;
    if (scope) scope.add(this);
    else abandoned.register(this, this.handle, this);
  }

  #leave(): void {
    if (this.#scope) this.#scope.delete(this);
    else abandoned.unregister(this);
  }
}

/**
 * -> a new tensor with a copy of the array's elements. `dtype` defaults to the array's own kind (a Uint16Array's is
 * bfloat16, a Uint8Array's uint8). Throws `operator_failed` where the array is not the one that holds that dtype.
 */
export function tensorFrom(
  source: TypedArray,
  shape: readonly number[],
  dtype?: Dtype,
  device: Device = "cpu",
): Tensor {
  const kind = dtype ?? dtypeOf(source);
  if (!(source instanceof arrayTypes[kind])) {
    throw new VlRewardError("operator_failed", `A ${kind} tensor is made from a ${arrayTypes[kind].name}.`);
  }
  return new Tensor(traced("copy in", () => translated(() => native().fromBytes(source, shape, kind, device))));
}

function dtypeOf(source: TypedArray): Dtype {
  for (const [dtype, type] of Object.entries(arrayTypes)) if (source instanceof type) return dtype as Dtype;
  throw new VlRewardError("operator_failed", "Expected a typed array that a tensor can be made from.");
}

/** Where a tensor lies in a file. */
export interface FileTensor {
  readonly offset: number; // bytes from the file's start
  readonly shape: readonly number[];
  readonly dtype: Dtype;
}

/** -> tensors over the file's mapped pages, read when touched; the mapping lives as long as one of them. */
export function mapFile(path: string, entries: readonly FileTensor[]): Tensor[] {
  const handles = translated(() =>
    native().mapFile(
      path,
      entries.map((entry) => entry.offset),
      entries.map((entry) => entry.shape),
      entries.map((entry) => entry.dtype),
    ),
  );
  return handles.map((handle) => new Tensor(handle));
}

/**
 * Runs `body` and frees every tensor made in it but those that it returns: a tensor, or arrays and plain objects of
 * them. What it returns belongs to the surrounding scope. Throws `scope_misuse` for an asynchronous body: other code's
 * tensors would fall into the scope while it waits.
 */
export function scope<T>(body: () => T): T {
  const outer = innermost;
  const own = new Set<Tensor>();
  innermost = own;
  try {
    const result = body();
    refusePromise("scope()", result);
    for (const tensor of tensorsIn(result)) if (own.has(tensor)) tensor.moveTo(outer);
    return result;
  } finally {
    innermost = outer;
    if (own.size > 0) traced("free", () => native().free([...own].map((tensor) => tensor.release())));
  }
}

/** Throws `scope_misuse` for the result of an asynchronous body. */
export function refusePromise(where: string, result: unknown): void {
  if (!(result instanceof Promise)) return;
  result.catch(() => {}); // it fails on freed tensors next; the error below is the one to read
  throw new VlRewardError("scope_misuse", `${where} expects a synchronous function, got one that returns a promise.`);
}

function* tensorsIn(value: unknown): Generator<Tensor> {
  if (value instanceof Tensor) {
    if (!value.isDisposed) yield value;
  } else if (Array.isArray(value)) {
    for (const item of value) yield* tensorsIn(item);
  } else if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) yield* tensorsIn(item);
  }
}

/** Takes a tensor out of all scopes: the caller owns it and disposes of it. */
export function keep(tensor: Tensor): Tensor {
  tensor.moveTo(undefined);
  return tensor;
}

/** What is alive now, on this thread. Bytes count each storage once; mapped files count with the size of their parts. */
export function liveTensors(): { handles: number; bytes: number } {
  return { handles: native().liveHandles(), bytes: native().liveBytes() };
}
