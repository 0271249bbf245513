/** @file A tensor in memory as what the writers of checkpoints take, for their tests. */
import type { TensorSource } from "../src/checkpoint/save.ts";
import type { Dtype, Tensor } from "../src/torch/index.ts";

export const tensorSource = (name: string, tensor: Tensor, dtype: Dtype = tensor.dtype): TensorSource => ({
  name,
  shape: tensor.shape,
  dtype,
  read: () => tensor,
});
