/**
 * @file A reader of the pickles in files of torch.save. It knows the instructions that those consist of, and six names: an
 * ordered dictionary and what makes a tensor of a storage. Any other name is refused where it is read; nothing is called.
 */
import type { Dtype } from "../torch/index.ts";

/** What is no pickle of plain tensors, as a clause. */
export class UnreadablePickle extends Error {}

export interface PickledTensor {
  /** The name of its storage's file. */
  readonly storage: string;
  /** Of its first element in the storage, in elements. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly dtype: Dtype;
}

const storageTypes: ReadonlyMap<string, Dtype> = new Map([
  ["DoubleStorage", "float64"],
  ["FloatStorage", "float32"],
  ["BFloat16Storage", "bfloat16"],
  ["HalfStorage", "float16"],
  ["LongStorage", "int64"],
  ["IntStorage", "int32"],
  ["ShortStorage", "int16"],
  ["CharStorage", "int8"],
  ["ByteStorage", "uint8"],
  ["BoolStorage", "bool"],
]);

class Name {
  constructor(readonly text: string) {}
}
class Storage {
  constructor(
    readonly key: string,
    readonly dtype: Dtype,
  ) {}
}
class Tensor implements PickledTensor {
  constructor(
    readonly storage: string,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
    readonly dtype: Dtype,
  ) {}
}

/** -> the tensors by their names; those of dictionaries within the dictionary by both names, with a dot between them. */
export function tensorsOfPickle(bytes: Buffer): Map<string, PickledTensor> {
  const tensors = new Map<string, PickledTensor>();
  let visits = 0;
  const gather = (value: unknown, prefix: string, depth: number): void => {
    if (++visits > 1e6 || depth > 8) throw new UnreadablePickle("its dictionaries hold each other over and over");
    if (value instanceof Tensor) tensors.set(prefix, value);
    else if (value instanceof Map) {
      for (const [key, part] of value)
        gather(part, prefix === "" ? String(key) : `${prefix}.${String(key)}`, depth + 1);
    }
  };
  const whole = new Machine(bytes).run();
  if (!(whole instanceof Map)) throw new UnreadablePickle("it holds no dictionary of tensors");
  gather(whole, "", 0);
  return tensors;
}

/** Below the items that an instruction takes from the stack. */
const mark = Symbol("mark");

class Machine {
  readonly #bytes: Buffer;
  #at = 0;
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  run(): unknown {
    try {
      for (;;) {
        const code = this.#bytes.readUInt8(this.#at++);
        if (code === 0x2e) return this.#pop(); // STOP
        this.#step(code);
      }
    } catch (cause) {
      if (cause instanceof RangeError) throw new UnreadablePickle("its pickle is cut off", { cause });
      throw cause;
    }
  }

  #step(code: number): void {
    const stack = this.#stack;
    switch (String.fromCharCode(code)) {
      case "\x80": // PROTO
        this.#at += 1;
        return;
      case "\x95": // FRAME
        this.#at += 8;
        return;
      case "(":
        stack.push(mark);
        return;
      case "}":
        stack.push(new Map());
        return;
      case "]":
      case ")":
        stack.push([]);
        return;
      case "N":
        stack.push(null);
        return;
      case "\x88":
        stack.push(true);
        return;
      case "\x89":
        stack.push(false);
        return;
      case "K":
        stack.push(this.#bytes.readUInt8(this.#skip(1)));
        return;
      case "M":
        stack.push(this.#bytes.readUInt16LE(this.#skip(2)));
        return;
      case "J":
        stack.push(this.#bytes.readInt32LE(this.#skip(4)));
        return;
      case "G":
        stack.push(this.#bytes.readDoubleBE(this.#skip(8)));
        return;
      case "\x8a": // LONG1
        stack.push(this.#long(this.#bytes.readUInt8(this.#skip(1))));
        return;
      case "X":
        stack.push(this.#text(this.#bytes.readUInt32LE(this.#skip(4))));
        return;
      case "\x8c": // SHORT_BINUNICODE
        stack.push(this.#text(this.#bytes.readUInt8(this.#skip(1))));
        return;
      case "c":
        stack.push(known(`${this.#line()} ${this.#line()}`));
        return;
      case "\x93": {
        const name = this.#pop(); // STACK_GLOBAL
        stack.push(known(`${String(this.#pop())} ${String(name)}`));
        return;
      }
      case "q":
        this.#memo.set(this.#bytes.readUInt8(this.#skip(1)), stack.at(-1));
        return;
      case "r":
        this.#memo.set(this.#bytes.readUInt32LE(this.#skip(4)), stack.at(-1));
        return;
      case "\x94": // MEMOIZE
        this.#memo.set(this.#memo.size, stack.at(-1));
        return;
      case "h":
        stack.push(this.#memo.get(this.#bytes.readUInt8(this.#skip(1))));
        return;
      case "j":
        stack.push(this.#memo.get(this.#bytes.readUInt32LE(this.#skip(4))));
        return;
      case "t":
        stack.push(this.#popToMark());
        return;
      case "\x85":
      case "\x86":
      case "\x87": // TUPLE1 to TUPLE3
        stack.push(stack.splice(Math.max(0, stack.length - (code - 0x84))));
        return;
      case "s":
        this.#setItems(stack.splice(Math.max(0, stack.length - 2)));
        return;
      case "u":
        this.#setItems(this.#popToMark());
        return;
      case "a":
        this.#append([this.#pop()]);
        return;
      case "e":
        this.#append(this.#popToMark());
        return;
      case "Q":
        stack.push(storageOf(this.#pop()));
        return;
      case "R": {
        const args = this.#pop();
        stack.push(made(this.#pop(), args));
        return;
      }
      case "b": // BUILD: attributes of a dictionary, such as the versions of a state_dict
        this.#pop();
        if (!(stack.at(-1) instanceof Map)) throw new UnreadablePickle("it gives attributes to what is no dictionary");
        return;
      default:
        throw new UnreadablePickle(
          `its pickle has the instruction 0x${code.toString(16)}, which plain tensors do without`,
        );
    }
  }

  /** -> where the bytes begin that are passed over */
  #skip(bytes: number): number {
    this.#at += bytes;
    return this.#at - bytes;
  }

  #text(bytes: number): string {
    const from = this.#skip(bytes);
    if (this.#at > this.#bytes.length) throw new RangeError("a text");
    return this.#bytes.toString("utf8", from, this.#at);
  }

  #long(bytes: number): number {
    if (bytes > 6) throw new UnreadablePickle(`it has a number of ${bytes} bytes`);
    return bytes === 0 ? 0 : this.#bytes.readIntLE(this.#skip(bytes), bytes);
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw new RangeError("a line");
    const from = this.#skip(end + 1 - this.#at);
    return this.#bytes.toString("utf8", from, end);
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw new RangeError("the stack");
    return this.#stack.pop();
  }

  #popToMark(): unknown[] {
    const at = this.#stack.lastIndexOf(mark);
    if (at < 0) throw new RangeError("a mark");
    return this.#stack.splice(at).slice(1);
  }

  #setItems(items: readonly unknown[]): void {
    const target = this.#stack.at(-1);
    if (!(target instanceof Map)) throw new UnreadablePickle("it puts items into what is no dictionary");
    for (let index = 0; index + 1 < items.length; index += 2) target.set(items[index], items[index + 1]);
  }

  #append(items: readonly unknown[]): void {
    const target = this.#stack.at(-1);
    if (!Array.isArray(target)) throw new UnreadablePickle("it appends to what is no list");
    for (const item of items) target.push(item);
  }
}

const rebuildTensor = "torch._utils _rebuild_tensor_v2";
const rebuildParameter = "torch._utils _rebuild_parameter";
const dictionary = "collections OrderedDict";

function known(text: string): Name {
  const isStorage = storageTypes.has(text.replace(/^torch /, ""));
  if (isStorage || [rebuildTensor, rebuildParameter, dictionary].includes(text)) return new Name(text);
  const cut = text.length > 80 ? `${text.slice(0, 80)}...` : text;
  throw new UnreadablePickle(`it names ${JSON.stringify(cut)}, which is no part of plain tensors`);
}

function storageOf(id: unknown): Storage {
  const [kind, type, key] = Array.isArray(id) ? id : [];
  const dtype = type instanceof Name ? storageTypes.get(type.text.replace(/^torch /, "")) : undefined;
  if (kind !== "storage" || dtype === undefined || typeof key !== "string") {
    throw new UnreadablePickle("it refers to what is no storage");
  }
  return new Storage(key, dtype);
}

/** What a call of one of the known names gives. */
function made(name: unknown, args: unknown): unknown {
  const list: readonly unknown[] = Array.isArray(args) ? args : [];
  if (name instanceof Name && name.text === dictionary && list.length === 0) return new Map();
  if (name instanceof Name && name.text === rebuildParameter && list[0] instanceof Tensor) return list[0];
  if (name instanceof Name && name.text === rebuildTensor) {
    const [storage, offset, shape, strides] = list;
    if (storage instanceof Storage && isCount(offset) && isCounts(shape) && isCounts(strides)) {
      if (shape.length === strides.length) return new Tensor(storage.key, offset, shape, strides, storage.dtype);
    }
  }
  throw new UnreadablePickle("it calls what makes no plain tensor");
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
const isCounts = (value: unknown): value is number[] => Array.isArray(value) && value.every(isCount);
