/** @file Marshalling: every kind of argument and result there and back, and what a wrong one says. */
import { describe, expect, test } from "vitest";
import { VlRewardError } from "../errors.ts";
import { op } from "./operator.ts";
import {
  add,
  cat,
  clamp,
  empty,
  full,
  gelu,
  linear,
  matmul,
  mulScalar,
  randn,
  sumAlong,
  toDtype,
  transpose,
} from "./ops.ts";
import { Generator } from "./random.ts";
import { liveTensors, scope, type Tensor, tensorFrom } from "./tensor.ts";

// Operators that only tests need.
const index = op("aten::index.Tensor(Tensor self, Tensor?[] indices) -> Tensor");
const clone = op("aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor");
const stride = op("aten::stride.int(Tensor self, int dim) -> int");
const equal = op("aten::equal(Tensor self, Tensor other) -> bool");
const item = op("aten::item(Tensor self) -> Scalar");
const maxAlong = op("aten::max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)");
const split = op("aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> Tensor(a)[]");
const addScalarToEach = op("aten::_foreach_add_.Scalar(Tensor(a!)[] self, Scalar scalar) -> ()");
const upsampleNearest = op(
  "aten::upsample_nearest2d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
);
const layerNorm = op(
  "aten::layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, bool cudnn_enable=True) -> Tensor",
);
const layerNormBackward = op(
  "aten::native_layer_norm_backward(Tensor grad_out, Tensor input, SymInt[] normalized_shape, Tensor mean, Tensor rstd, Tensor? weight, Tensor? bias, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
);

const vector = (...values: number[]): Tensor => tensorFrom(Float64Array.from(values), [values.length]);
const numbers = (tensor: Tensor): number[] => Array.from(tensor.toTypedArray(), Number);

/** What the call throws; fails where it throws nothing or something else. */
function failureOf(call: () => unknown): VlRewardError {
  try {
    call();
  } catch (error) {
    if (error instanceof VlRewardError) return error;
    throw error;
  }
  throw new Error("expected the call to throw");
}

describe("arguments", () => {
  test("Tensor? is a tensor, null or left out", () => {
    const input = tensorFrom(Float64Array.of(1, 2), [1, 2]);
    const weight = tensorFrom(Float64Array.of(3, 4, 5, 6), [2, 2]); // [out, in]
    expect(numbers(linear(input, weight))).toEqual([11, 17]);
    expect(numbers(linear(input, weight, null))).toEqual([11, 17]);
    expect(numbers(linear(input, weight, undefined))).toEqual([11, 17]);
    expect(numbers(linear(input, weight, vector(100, 200)))).toEqual([111, 217]);
  });

  test("Tensor[] and Tensor?[]", () => {
    expect(numbers(cat([vector(1), vector(2, 3)]))).toEqual([1, 2, 3]);
    const table = tensorFrom(Float64Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
    const columns = tensorFrom(BigInt64Array.of(2n, 0n), [2]);
    expect(numbers(index(table, [null, columns]))).toEqual([3, 1, 6, 4]);
  });

  test("int, SymInt[], int[]? and bool", () => {
    const table = tensorFrom(Float64Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
    expect(transpose(table, 0, -1).shape).toEqual([3, 2]);
    expect(full([2, 0, 3], 1).shape).toEqual([2, 0, 3]);
    expect(full([], 1).shape).toEqual([]);
    expect(numbers(sumAlong(table, [1], true))).toEqual([6, 15]);
    expect(sumAlong(table, [1], true).shape).toEqual([2, 1]);
    expect(numbers(sumAlong(table, null))).toEqual([21]);
  });

  test("float, float? and float[]", () => {
    const x = vector(-1, 1);
    expect(numbers(layerNorm(x, [2], null, null, 3))[1]).toBeCloseTo(1 / Math.sqrt(1 + 3), 15);
    expect(numbers(layerNorm(x, [2]))[1]).toBeCloseTo(1 / Math.sqrt(1 + 1e-5), 15);
    const picture = tensorFrom(Float64Array.of(7), [1, 1, 1, 1]);
    expect(upsampleNearest(picture, null, [2, 3]).shape).toEqual([1, 1, 2, 3]);
    expect(upsampleNearest(picture, [4, 5], null).shape).toEqual([1, 1, 4, 5]);
  });

  test("bool[]; an undefined tensor among the results is null", () => {
    const x = tensorFrom(Float64Array.of(-1, 1), [1, 2]);
    const gradient = tensorFrom(Float64Array.of(2, 3), [1, 2]);
    const one = tensorFrom(Float64Array.of(1), [1, 1]);
    const zero = tensorFrom(Float64Array.of(0), [1, 1]);
    const ones = vector(1, 1);
    const [, weight, bias] = layerNormBackward(gradient, x, [2], zero, one, ones, ones, [false, true, false]);
    expect(numbers(weight)).toEqual([-2, 3]); // gradient * x, for mean 0 and deviation 1
    expect(bias).toBeNull();
  });

  test("Scalar keeps its kind: whole numbers are integers, others doubles, booleans booleans", () => {
    expect(full([1], 3).dtype).toBe("int64");
    expect(full([1], 3.5).dtype).toBe("float32");
    expect(full([1], true).dtype).toBe("bool");
    expect(full([1], -0).dtype).toBe("float32");
    expect(Object.is(numbers(mulScalar(vector(1), -0))[0], -0)).toBe(true);
    expect(numbers(full([1], 2 ** 53 - 1))).toEqual([2 ** 53 - 1]);
    expect(numbers(full([1], 1e300, "float64"))).toEqual([1e300]);
    expect(numbers(full([3], Number.NEGATIVE_INFINITY))).toEqual(Array(3).fill(Number.NEGATIVE_INFINITY));
    expect(numbers(full([1], Number.NaN))).toEqual([Number.NaN]);
    expect(numbers(clamp(vector(-5, 0, 5), null, 1.5))).toEqual([-5, 0, 1.5]);
  });

  test("str", () => {
    const x = 0.7;
    const tanh = 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    expect(numbers(gelu(vector(x), "tanh"))[0]).toBeCloseTo(tanh, 14);
    expect(numbers(gelu(vector(x)))[0]).not.toBeCloseTo(tanh, 5);
  });

  test("ScalarType, Layout, Device", () => {
    for (const dtype of [
      "float32",
      "float64",
      "bfloat16",
      "float16",
      "int64",
      "int32",
      "int16",
      "int8",
      "uint8",
      "bool",
    ] as const) {
      expect(empty([1], dtype).dtype).toBe(dtype);
    }
    const nowhere = empty([2, 3], "bfloat16", "strided", "meta");
    expect(nowhere.device).toBe("meta");
    expect(nowhere.shape).toEqual([2, 3]);
    expect(empty([1], undefined, undefined, "cpu").device).toBe("cpu");
  });

  test("MemoryFormat", () => {
    const picture = full([1, 3, 2, 2], 0, "uint8");
    expect(stride(clone(picture), 1)).toBe(4);
    expect(stride(clone(picture, "channels_last"), 1)).toBe(1);
    expect(stride(clone(clone(picture, "channels_last"), "preserve"), 1)).toBe(1);
    expect(stride(clone(clone(picture, "channels_last"), "contiguous"), 1)).toBe(4);
  });

  test("Generator? may be null", () => {
    using generator = new Generator(1);
    expect(randn([4], generator).shape).toEqual([4]);
    expect(randn([4], null).shape).toEqual([4]);
  });
});

describe("results", () => {
  test("tuples, lists, numbers, booleans and nothing", () => {
    const table = tensorFrom(Float64Array.of(1, 9, 3, 4, 5, 6), [2, 3]);
    const [values, indices] = maxAlong(table, 1);
    expect(numbers(values)).toEqual([9, 6]);
    expect(numbers(indices)).toEqual([1, 2]);
    expect(split(table, 2, 1).map((part) => part.shape)).toEqual([
      [2, 2],
      [2, 1],
    ]);
    expect(stride(table, 0)).toBe(3);
    expect(equal(table, table)).toBe(true);
    expect(equal(table, values)).toBe(false);
    expect(item(vector(2.5))).toBe(2.5);
    expect(item(full([], 7))).toBe(7);
    const parts = [vector(1), vector(2, 3)];
    expect(addScalarToEach(parts, 10)).toBeUndefined();
    expect(parts.map(numbers)).toEqual([[11], [12, 13]]);
  });
});

describe("numbers against float64 arithmetic", () => {
  test("a matrix product and a broadcast sum", () => {
    const [rows, inner, columns] = [5, 7, 3];
    const a = Float64Array.from({ length: rows * inner }, (_, i) => Math.sin(i));
    const b = Float64Array.from({ length: inner * columns }, (_, i) => Math.cos(3 * i));
    const c = Float64Array.from({ length: columns }, (_, i) => i / 7);
    const expected = Array.from({ length: rows * columns }, (_, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      let total = c[column] ?? Number.NaN;
      for (let k = 0; k < inner; k++) total += (a[row * inner + k] ?? 0) * (b[k * columns + column] ?? 0);
      return total;
    });
    const compute = (dtype: "float64" | "float32") =>
      scope(() => {
        const [x, y, z] = [tensorFrom(a, [rows, inner]), tensorFrom(b, [inner, columns]), tensorFrom(c, [columns])];
        return numbers(add(matmul(toDtype(x, dtype), toDtype(y, dtype)), toDtype(z, dtype)));
      });
    for (const [i, value] of compute("float64").entries()) expect(value).toBeCloseTo(expected[i] ?? 0, 14);
    for (const [i, value] of compute("float32").entries()) expect(value).toBeCloseTo(expected[i] ?? 0, 5);
  });
});

describe("errors name the operator, the argument and the shapes", () => {
  const left = tensorFrom(new Float32Array(6), [2, 3]);
  const right = tensorFrom(new Float64Array(20), [4, 5]);

  test("shapes that do not fit", () => {
    const error = failureOf(() => matmul(left, tensorFrom(new Float32Array(20), [4, 5])));
    expect(error.code).toBe("operator_failed");
    expect(error.message).toMatch(/^aten::matmul\(self: float32\[2, 3\], other: float32\[4, 5\]\): mat1 and mat2/);
  });

  test("lists of tensors and missing optional ones", () => {
    const error = failureOf(() => cat([left, right]));
    expect(error.message).toMatch(/^aten::cat\(tensors: \[float32\[2, 3\], float64\[4, 5\]\]\): /);
    expect(failureOf(() => linear(left, right, null)).message).toMatch(
      /^aten::linear\(input: float32\[2, 3\], weight: float64\[4, 5\]\): /,
    );
  });

  test("no C++ stack, source file or address", () => {
    const failures = [
      failureOf(() => matmul(left, right)),
      failureOf(() => cat([])),
      failureOf(() => transpose(left, 0, 9)),
      failureOf(() => index(left, [null, null, null])),
      failureOf(() => empty([-1])),
    ];
    for (const { message } of failures) {
      expect(message).not.toMatch(/0x[0-9a-f]{6}|frame #|Exception raised|\.cpp|\.so\b/);
      expect(message.length).toBeLessThan(400);
    }
  });

  const cases: [string, () => unknown, RegExp][] = [
    ["Tensor", () => matmul(left, "x" as never), /argument "other": expected a tensor, got the string "x"/],
    [
      "missing Tensor",
      () => Reflect.apply(matmul, undefined, [left]),
      /argument "other": expected a tensor, got undefined/,
    ],
    ["null Tensor", () => matmul(left, null as never), /argument "other": expected a tensor, got null/],
    ["Tensor[]", () => cat(left as never), /argument "tensors": expected an array, got the number/],
    ["item of Tensor[]", () => cat([left, {} as never]), /argument "tensors": expected a tensor, got an object/],
    ["int", () => transpose(left, 0.5, 0), /argument "dim0": expected an integer, got the number 0.5/],
    ["large int", () => transpose(left, 2 ** 60, 0), /argument "dim0": expected an integer/],
    [
      "bigint",
      () => transpose(left, 1n as never, 0),
      /argument "dim0": expected a number, got a value of another kind/,
    ],
    ["SymInt[]", () => empty(3 as never), /argument "size": expected an array, got the number 3/],
    ["item of SymInt[]", () => empty([2, "3" as never]), /argument "size": expected a number, got the string "3"/],
    ["float", () => layerNorm(left, [3], null, null, "1" as never), /argument "eps": expected a number/],
    ["Scalar", () => mulScalar(left, "2" as never), /argument "other": expected a number, got the string "2"/],
    ["bool", () => sumAlong(left, [0], 1 as never), /argument "keepdim": expected a boolean, got the number 1/],
    ["str", () => gelu(left, 1 as never), /argument "approximate": expected a string, got the number 1/],
    ["ScalarType", () => toDtype(left, "float8" as never), /argument "dtype": unknown dtype "float8"/],
    ["Device", () => empty([1], undefined, undefined, "moon"), /argument "device": .*moon/],
    ["MemoryFormat", () => clone(left, "sideways"), /argument "memory_format": unknown memory format "sideways"/],
    ["Layout", () => empty([1], undefined, "sparse"), /argument "layout": expected "strided", got the string "sparse"/],
    ["Generator", () => randn([1], "seed" as never), /argument "generator": expected a generator, got the string/],
    ["too many", () => Reflect.apply(matmul, undefined, [left, left, left]), /expected at most 2 arguments, got 3/],
  ];
  test.each(cases)("%s", (_, call, message) => {
    const error = failureOf(call);
    expect(error.code).toBe("operator_failed");
    expect(error.message).toMatch(/^aten::/);
    expect(error.message).toMatch(message);
  });

  test("an operator that libtorch does not have, and an argument type that the door does not know", () => {
    const missing = op("aten::no_such.overload(Tensor self) -> Tensor");
    expect(failureOf(() => missing(left)).message).toBe("this libtorch has no operator aten::no_such.overload");
    const addToEach = op("aten::_foreach_add_.ScalarList(Tensor(a!)[] self, Scalar[] scalars) -> ()");
    expect(failureOf(() => addToEach([left], [1])).message).toBe(
      'aten::_foreach_add_.ScalarList(self: [float32[2, 3]]): argument "scalars": lists of Scalar are not supported',
    );
  });

  test("a call that fails leaves no handle behind", () => {
    const before = liveTensors().handles;
    failureOf(() => matmul(left, right));
    failureOf(() => cat([left, right]));
    expect(liveTensors().handles).toBe(before);
  });
});
