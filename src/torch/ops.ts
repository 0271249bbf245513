/**
 * @file The operators in use, one row each: PyTorch's schema, from which name, parameters and result types follow.
 * A test holds every row against the schema of the loaded libtorch. Add a row when code needs it.
 */
import { op } from "./operator.ts";

// Arithmetic, elementwise with broadcasting.
export const add = op("aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor");
export const sub = op("aten::sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor");
export const mul = op("aten::mul.Tensor(Tensor self, Tensor other) -> Tensor");
export const mulScalar = op("aten::mul.Scalar(Tensor self, Scalar other) -> Tensor");
export const neg = op("aten::neg(Tensor self) -> Tensor");
export const reciprocal = op("aten::reciprocal(Tensor self) -> Tensor");
export const powScalar = op("aten::pow.Scalar(Scalar self, Tensor exponent) -> Tensor");
export const sqrt = op("aten::sqrt(Tensor self) -> Tensor");
export const cos = op("aten::cos(Tensor self) -> Tensor");
export const sin = op("aten::sin(Tensor self) -> Tensor");
export const silu = op("aten::silu(Tensor self) -> Tensor");
export const gelu = op('aten::gelu(Tensor self, *, str approximate="none") -> Tensor');
export const logSigmoid = op("aten::log_sigmoid(Tensor self) -> Tensor");
export const round = op("aten::round(Tensor self) -> Tensor");
export const clamp = op("aten::clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor");

// In place: they return their first argument under a new handle.
export const expInto = op("aten::exp_(Tensor(a!) self) -> Tensor(a!)");
export const erfInto = op("aten::erf_(Tensor(a!) self) -> Tensor(a!)");
export const mulInto = op("aten::mul_.Tensor(Tensor(a!) self, Tensor other) -> Tensor(a!)");
export const divOut = op("aten::div.out(Tensor self, Tensor other, *, Tensor(a!) out) -> Tensor(a!)");
export const triuInto = op("aten::triu_(Tensor(a!) self, SymInt diagonal=0) -> Tensor(a!)");
export const addScalarInto = op("aten::add_.Scalar(Tensor(a!) self, Scalar other, Scalar alpha=1) -> Tensor(a!)");

export const zeroInto = op("aten::zero_(Tensor(a!) self) -> Tensor(a!)");
export const addInto = op("aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)");

// For an optimizer: many tensors at once.
export const foreachNorm = op(
  "aten::_foreach_norm.Scalar(Tensor[] self, Scalar ord=2, ScalarType? dtype=None) -> Tensor[]",
);
export const foreachMulInto = op("aten::_foreach_mul_.Scalar(Tensor(a!)[] self, Scalar scalar) -> ()");
export const foreachAddInto = op("aten::_foreach_add_.Scalar(Tensor(a!)[] self, Scalar scalar) -> ()");
export const fusedAdamW = op(
  "aten::_fused_adamw_(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] exp_avgs, Tensor(d!)[] exp_avg_sqs, Tensor(e!)[] max_exp_avg_sqs, Tensor[] state_steps, *, float lr, float beta1, float beta2, float weight_decay, float eps, bool amsgrad, bool maximize, Tensor? grad_scale=None, Tensor? found_inf=None) -> ()",
);

// Reductions and comparison.
export const sum = op("aten::sum(Tensor self, *, ScalarType? dtype=None) -> Tensor");
export const sumAlong = op(
  "aten::sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
);

// Matrices and layers.
export const matmul = op("aten::matmul(Tensor self, Tensor other) -> Tensor");
export const linear = op("aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor");
export const embedding = op(
  "aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool scale_grad_by_freq=False, bool sparse=False) -> Tensor",
);
export const rmsNorm = op(
  "aten::rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
);
export const scaledDotProductAttention = op(
  "aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor",
);
export const fusedSdpChoice = op(
  "aten::_fused_sdp_choice(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> int",
);
// From torch 2.12 on it has two more arguments, which nothing here gives.
export const flashAttentionForward = op(
  "aten::_flash_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? cum_seq_q, Tensor? cum_seq_k, SymInt max_q, SymInt max_k, float dropout_p, bool is_causal, bool return_debug_mask, *, float? scale=None, SymInt? window_size_left=None, SymInt? window_size_right=None, Tensor? seqused_k=None, Tensor? alibi_slopes=None) -> (Tensor output, Tensor softmax_logsumexp, Tensor rng_state, Tensor unused, Tensor debug_attn_mask)",
  "aten::_flash_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? cum_seq_q, Tensor? cum_seq_k, SymInt max_q, SymInt max_k, float dropout_p, bool is_causal, bool return_debug_mask, *, float? scale=None, SymInt? window_size_left=None, SymInt? window_size_right=None, Tensor? seqused_k=None, Tensor? alibi_slopes=None, Tensor? block_table=None, int? num_splits=None) -> (Tensor output, Tensor softmax_logsumexp, Tensor rng_state, Tensor unused, Tensor debug_attn_mask)",
);

export const crossEntropyLoss = op(
  "aten::cross_entropy_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=1, SymInt ignore_index=-100, float label_smoothing=0.) -> Tensor",
);

// Shape and order.
export const view = op("aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)");
export const reshape = op("aten::reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)");
export const transpose = op("aten::transpose.int(Tensor(a) self, int dim0, int dim1) -> Tensor(a)");
export const permute = op("aten::permute(Tensor(a) self, int[] dims) -> Tensor(a)");
export const unsqueeze = op("aten::unsqueeze(Tensor(a) self, int dim) -> Tensor(a)");
export const narrow = op("aten::narrow(Tensor(a) self, int dim, SymInt start, SymInt length) -> Tensor(a)");
export const select = op("aten::select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)");
export const cat = op("aten::cat(Tensor[] tensors, int dim=0) -> Tensor");
export const stack = op("aten::stack(Tensor[] tensors, int dim=0) -> Tensor");
export const indexSelect = op("aten::index_select(Tensor self, int dim, Tensor index) -> Tensor");
export const indexAddInto = op(
  "aten::index_add_(Tensor(a!) self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> Tensor(a!)",
);
export const indexCopy = op("aten::index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor");

// Making and converting.
export const empty = op(
  "aten::empty.memory_format(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
);
export const zeros = op(
  "aten::zeros(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
);
export const full = op(
  "aten::full(SymInt[] size, Scalar fill_value, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
);
export const rand = op(
  "aten::rand.generator(SymInt[] size, *, Generator? generator, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
);
export const randn = op(
  "aten::randn.generator(SymInt[] size, *, Generator? generator, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
);
export const bernoulliInto = op(
  "aten::bernoulli_.float(Tensor(a!) self, float p=0.5, *, Generator? generator=None) -> Tensor(a!)",
);
export const toDtype = op(
  "aten::to.dtype(Tensor(a) self, ScalarType dtype, bool non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
);
export const toDevice = op(
  "aten::to.device(Tensor(a) self, Device device, ScalarType dtype, bool non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
);
export const copyInto = op("aten::copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)");
export const clone = op("aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor");
export const detach = op("aten::detach(Tensor(a) self) -> Tensor(a)");

// Pictures.
export const upsampleBicubic2dAa = op(
  "aten::_upsample_bicubic2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
);

// Between processes. `group_name` is a str up to torch 2.11 and Any from 2.12 on. What these return is there when
// `waitTensor` of it has come back.
export const allReduce = op(
  "_c10d_functional::all_reduce(Tensor input, str reduce_op, str group_name) -> Tensor",
  "_c10d_functional::all_reduce(Tensor input, str reduce_op, Any group_name) -> Tensor",
);
export const allGatherIntoTensor = op(
  "_c10d_functional::all_gather_into_tensor(Tensor input, int group_size, str group_name) -> Tensor",
  "_c10d_functional::all_gather_into_tensor(Tensor input, int group_size, Any group_name) -> Tensor",
);
export const reduceScatterTensor = op(
  "_c10d_functional::reduce_scatter_tensor(Tensor input, str reduce_op, int group_size, str group_name) -> Tensor",
  "_c10d_functional::reduce_scatter_tensor(Tensor input, str reduce_op, int group_size, Any group_name) -> Tensor",
);
export const waitTensor = op("_c10d_functional::wait_tensor(Tensor tensor) -> Tensor");
