/**
 * @file Tensors divided among processes: each owns an equal part of every one. They travel in buckets: a collective for each
 * would wait longer than it sends.
 */
import type { Parameter } from "../../nn/index.ts";
import { cat, narrow, reshape, type Tensor, view, zeros } from "../../torch/index.ts";
import type { World } from "../world.ts";

/** Elements that a collective carries: enough that starting it is nothing, few enough to have room for. */
const bucketElements = 2 ** 23;

/** Methods that take what others have are collective: every process calls them, in the same order. */
export class Partition {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** x of any shape -> a view of this process's elements [part]; the last process's are filled up with zeros */
  part(x: Tensor): Tensor {
    const length = this.#length(x.elements);
    return narrow(this.#padded(view(x, [-1])), 0, this.#world.rank * length, length);
  }

  /** wholes [elements], of one dtype -> for each this process's part of its sum over all processes [part] */
  sum(wholes: readonly Tensor[]): Tensor[] {
    const { worldSize } = this.#world;
    const rows = wholes.map((whole) => view(this.#padded(whole), [worldSize, -1]));
    const own = this.#world.reduceScatter(reshape(joined(rows, 1), [-1]));
    return pieces(
      own,
      0,
      wholes.map(({ elements }) => this.#length(elements)),
    );
  }

  /** parts [part] of each process, of one dtype -> the wholes, of these shapes */
  gather(parts: readonly { readonly part: Tensor; readonly shape: readonly number[] }[]): Tensor[] {
    const own = parts.map(({ part }) => part);
    const all = view(this.#world.allGather(joined(own, 0)), [this.#world.worldSize, -1]);
    const lengths = own.map(({ elements }) => elements);
    return pieces(all, 1, lengths).map((rows, index) => {
      const shape = parts[index]?.shape ?? [];
      const elements = shape.reduce((product, length) => product * length, 1);
      return view(narrow(reshape(rows, [-1]), 0, 0, elements), shape);
    });
  }

  /** What should travel together: of one dtype, in this order, until a bucket is full; each by itself in one process. */
  buckets<Item extends { readonly parameter: Parameter }>(items: readonly Item[]): Item[][] {
    const most = this.#world.worldSize === 1 ? 0 : bucketElements;
    const buckets: Item[][] = [];
    let filled = 0;
    for (const item of items) {
      const { elements, dtype } = item.parameter.stored;
      const bucket = buckets.at(-1);
      if (bucket && filled + elements <= most && bucket[0]?.parameter.stored.dtype === dtype) bucket.push(item);
      else {
        buckets.push([item]);
        filled = 0;
      }
      filled += elements;
    }
    return buckets;
  }

  /** Elements that each process owns. */
  #length(elements: number): number {
    return Math.ceil(elements / this.#world.worldSize);
  }

  #padded(x: Tensor): Tensor {
    const missing = this.#length(x.elements) * this.#world.worldSize - x.elements;
    return missing === 0 ? x : cat([x, zeros([missing], x.dtype, null, x.device)], 0);
  }
}

const joined = (all: readonly Tensor[], dim: number): Tensor => (all.length === 1 && all[0] ? all[0] : cat(all, dim));

/** x in pieces of these lengths along a dimension */
function pieces(x: Tensor, dim: number, lengths: readonly number[]): Tensor[] {
  let start = 0;
  return lengths.map((length) => {
    start += length;
    return narrow(x, dim, start - length, length);
  });
}
