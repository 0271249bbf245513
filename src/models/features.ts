/**
 * @file What a vision tower makes of pictures and videos, before its merger or after it: one tensor or several with a row for the
 * same things. Only its family knows what they mean; others cut, join and keep them.
 */
import { bytesPerElement, cat, clone, type Device, keep, narrow, type Tensor, toDevice } from "../torch/index.ts";

export class Features {
  readonly tensors: readonly Tensor[]; // [rows, width] each; at least one

  constructor(tensors: readonly Tensor[]) {
    this.tensors = tensors;
  }

  get rows(): number {
    return this.tensors[0]?.size(0) ?? 0;
  }

  get bytes(): number {
    return this.tensors.reduce((sum, { elements, dtype }) => sum + elements * bytesPerElement(dtype), 0);
  }

  /** The rows from `start`, not copied. */
  narrow(start: number, rows: number): Features {
    return new Features(this.tensors.map((tensor) => narrow(tensor, 0, start, rows)));
  }

  /** A copy that outlives the surrounding scope; its owner disposes of it. */
  copy(): Features {
    return new Features(this.tensors.map((tensor) => keep(clone(tensor))));
  }

  /** The same, which outlives the surrounding scope; its owner disposes of it. */
  kept(): Features {
    return new Features(this.tensors.map(keep));
  }

  /** The same where they are, or a copy there; it outlives the surrounding scope, and its owner disposes of it. */
  on(device: Device): Features {
    return new Features(this.tensors.map((tensor) => keep(toDevice(tensor, device, tensor.dtype))));
  }

  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose();
  }

  /** One below the other; undefined for none. */
  static joined(all: readonly Features[]): Features | undefined {
    const [first] = all;
    if (!first || all.length === 1) return first;
    const columns = first.tensors.map((_, index) => all.flatMap(({ tensors }) => tensors.slice(index, index + 1)));
    return new Features(columns.map((parts) => cat(parts, 0)));
  }
}
