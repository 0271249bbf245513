/** @file The processes that train together, as this room sees them. src/torch/distributed/ connects them. */
import { type Device, scope, type Tensor, tensorFrom } from "../torch/index.ts";

/** All methods are collective: every process calls them, in the same order. */
export interface World {
  readonly rank: number;
  readonly worldSize: number;
  /** Where tensors have to be. */
  readonly device: Device;
  /** The sum over all, of the same shape. */
  allReduce(tensor: Tensor): Tensor;
  /** [n] of each -> [n * worldSize] */
  allGather(tensor: Tensor): Tensor;
  /** [n * worldSize] -> [n]: the sum of this process's part. */
  reduceScatter(tensor: Tensor): Tensor;
}

/** One process by itself. */
export const alone = (device: Device): World => ({
  rank: 0,
  worldSize: 1,
  device,
  allReduce: (tensor) => tensor,
  allGather: (tensor) => tensor,
  reduceScatter: (tensor) => tensor,
});

/** -> the numbers of all processes, summed place by place */
export function sumOver(world: World, numbers: Float64Array): Float64Array {
  if (world.worldSize === 1) return numbers;
  return scope(() =>
    Float64Array.from(
      world.allReduce(tensorFrom(numbers, [numbers.length], "float64", world.device)).toTypedArray(),
      Number,
    ),
  );
}
