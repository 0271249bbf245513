/** @file The processes that train together, as this room sees them. src/torch/distributed/ connects them. */
import { type Device, scope, type Tensor, tensorFrom } from "../torch/index.ts";

/** All methods are collective: every process calls them, in the same order. */
export interface World {
  readonly rank: number;
  readonly worldSize: number;
  /** How many of them share this machine's cores and memory. */
  readonly localSize: number;
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
  localSize: 1,
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

/** Whether any process says so. */
export const anyOf = (world: World, own: boolean): boolean =>
  (sumOver(world, Float64Array.of(Number(own)))[0] ?? 0) > 0;

/** -> the texts of all processes, by rank */
export function textsOf(world: World, own: string): string[] {
  if (world.worldSize === 1) return [own];
  const bytes = Buffer.from(own);
  const lengths = sumOver(
    world,
    Float64Array.from({ length: world.worldSize }, (_, rank) => (rank === world.rank ? bytes.byteLength : 0)),
  );
  const ends = lengths.map((_, rank) => lengths.subarray(0, rank + 1).reduce((sum, length) => sum + length, 0));
  const all = new Float64Array(ends.at(-1) ?? 0);
  all.set(bytes, (ends[world.rank] ?? 0) - bytes.byteLength);
  const summed = Buffer.from(sumOver(world, all));
  return Array.from(lengths, (length, rank) => {
    const end = ends[rank] ?? 0;
    return summed.toString("utf8", end - length, end);
  });
}
