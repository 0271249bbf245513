/** @file Gradients against calculus on paper and against differences of float64 values. */
import { describe, expect, test } from "vitest";
import { accumulatedGradient, backward, clearGradient, noGrad } from "./autograd.ts";
import { add, detach, linear, mul, rmsNorm, scaledDotProductAttention, silu, sum, toDtype, transpose } from "./ops.ts";
import { liveTensors, scope, type Tensor, tensorFrom } from "./tensor.ts";

/** Numbers without a pattern, between -1 and 1. */
function rough(length: number, seed: number): Float64Array {
  return Float64Array.from({ length }, (_, i) => Math.sin(seed + 12.9898 * i + (i * i) / 7));
}

interface Values {
  readonly values: Float64Array;
  readonly shape: readonly number[];
}

function input(shape: readonly number[], seed: number): Values {
  return {
    values: rough(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    shape,
  };
}

const leafOf = ({ values, shape }: Values): Tensor => tensorFrom(values, shape).setRequiresGrad(true);
const numbers = (tensor: Tensor | null | undefined): number[] => Array.from(tensor?.toTypedArray() ?? [], Number);
const scalar = (tensor: Tensor): number => numbers(tensor)[0] ?? Number.NaN;

/** sum(output * weights), with weights that tell the elements apart. */
function weighted(output: Tensor): Tensor {
  return sum(mul(output, tensorFrom(rough(output.elements, 99), output.shape)));
}

function expectClose(actual: readonly number[], expected: ArrayLike<number>, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  const scale = Math.max(...Array.from(expected, Math.abs));
  for (const [i, value] of actual.entries()) {
    expect(Math.abs(value - (expected[i] ?? Number.NaN)) / scale, `element ${i}`).toBeLessThan(tolerance);
  }
}

/** By `backward`, of leaves that have none yet. */
function gradients(output: Tensor, leaves: readonly Tensor[]): number[][] {
  backward(output);
  return leaves.map((leaf) => numbers(accumulatedGradient(leaf)));
}

/** Holds autograd's gradient of weighted(f) against central differences, for every element of every input. */
function expectGradients(f: (...tensors: Tensor[]) => Tensor, inputs: readonly Values[]): void {
  const found = scope(() => {
    const leaves = inputs.map(leafOf);
    return gradients(weighted(f(...leaves)), leaves);
  });
  const valueWith = (which: number, element: number, step: number) =>
    scope(() => {
      const moved = inputs.map(({ values, shape }, i) => {
        const copy = Float64Array.from(values);
        if (i === which) copy[element] = (values[element] ?? 0) + step;
        return tensorFrom(copy, shape);
      });
      return scalar(weighted(f(...moved)));
    });
  const step = 1e-5;
  for (const [which, { values }] of inputs.entries()) {
    const expected = values.map((_, i) => (valueWith(which, i, step) - valueWith(which, i, -step)) / (2 * step));
    expectClose(found[which] ?? [], expected, 1e-8);
  }
}

describe("gradients", () => {
  test("linear: analytic", () => {
    const [rows, width, out] = [2, 3, 4];
    const x = input([rows, width], 1);
    const w = input([out, width], 2);
    const found = scope(() => {
      const leaves = [x, w, input([out], 3)].map(leafOf);
      const [first, second, third] = leaves;
      if (!first || !second) throw new Error("no leaves");
      return gradients(weighted(linear(first, second, third)), leaves);
    });
    const g = rough(rows * out, 99); // gradient of the output
    const dx = new Float64Array(rows * width);
    const dw = new Float64Array(out * width);
    const db = new Float64Array(out);
    for (let r = 0; r < rows; r++) {
      for (let o = 0; o < out; o++) {
        const gradient = g[r * out + o] ?? 0;
        db[o] = (db[o] ?? 0) + gradient;
        for (let k = 0; k < width; k++) {
          dx[r * width + k] = (dx[r * width + k] ?? 0) + gradient * (w.values[o * width + k] ?? 0);
          dw[o * width + k] = (dw[o * width + k] ?? 0) + gradient * (x.values[r * width + k] ?? 0);
        }
      }
    }
    expectClose(found[0] ?? [], dx, 1e-14);
    expectClose(found[1] ?? [], dw, 1e-14);
    expectClose(found[2] ?? [], db, 1e-14);
  });

  test("silu: analytic and differences", () => {
    const x = input([7], 4);
    const found = scope(() => {
      const leaf = leafOf(x);
      return gradients(sum(silu(leaf)), [leaf])[0] ?? [];
    });
    const expected = x.values.map((value) => {
      const s = 1 / (1 + Math.exp(-value));
      return s * (1 + value * (1 - s));
    });
    expectClose(found, expected, 1e-14);
    expectGradients(silu as (x: Tensor) => Tensor, [x]);
  });

  test("rms_norm: the value, and differences", () => {
    const [x, w] = [input([3, 5], 5), input([5], 6)];
    const eps = 1e-3;
    const found = scope(() => numbers(rmsNorm(leafOf(x), [5], leafOf(w), eps)));
    const expected = x.values.map((value, i) => {
      const row = x.values.subarray(i - (i % 5), i - (i % 5) + 5);
      const meanSquare = row.reduce((total, item) => total + item * item, 0) / 5;
      return (value / Math.sqrt(meanSquare + eps)) * (w.values[i % 5] ?? 0);
    });
    expectClose(found, expected, 1e-14);
    expectGradients((a, b) => rmsNorm(a as Tensor, [5], b, eps), [x, w]);
  });

  test("scaled_dot_product_attention, causal, several query heads to a key head", () => {
    const [heads, keyHeads, tokens, width] = [4, 2, 5, 4];
    const q = input([1, heads, tokens, width], 7);
    const k = input([1, keyHeads, tokens, width], 8);
    const v = input([1, keyHeads, tokens, width], 9);
    const attend = (...[a, b, c]: Tensor[]) =>
      scaledDotProductAttention(a as Tensor, b as Tensor, c as Tensor, null, 0, true, null, true);
    const found = scope(() => numbers(attend(leafOf(q), leafOf(k), leafOf(v))));
    const at = (of: Values, head: number, token: number, i: number) =>
      of.values[(head * tokens + token) * width + i] ?? Number.NaN;
    const expected: number[] = [];
    for (let head = 0; head < heads; head++) {
      const keyHead = Math.floor(head / (heads / keyHeads));
      for (let token = 0; token < tokens; token++) {
        const weights = Array.from({ length: token + 1 }, (_, other) => {
          let dot = 0;
          for (let i = 0; i < width; i++) dot += at(q, head, token, i) * at(k, keyHead, other, i);
          return Math.exp(dot / Math.sqrt(width));
        });
        const total = weights.reduce((a, b) => a + b);
        for (let i = 0; i < width; i++) {
          expected.push(weights.reduce((out, weight, other) => out + (weight / total) * at(v, keyHead, other, i), 0));
        }
      }
    }
    expectClose(found, expected, 1e-14);
    expectGradients(attend, [q, k, v]);
  });
});

describe("backward", () => {
  test("leaves a leaf without a gradient that was not used", () => {
    scope(() => {
      const [used, unused] = [leafOf(input([2], 1)), leafOf(input([2], 2))];
      backward(sum(used));
      expect(numbers(accumulatedGradient(used))).toEqual([1, 1]);
      expect(accumulatedGradient(unused)).toBeNull();
    });
  });

  test("needs the gradient of an output that is no scalar", () => {
    scope(() => {
      const leaf = tensorFrom(Float64Array.of(3, 5), [2]).setRequiresGrad(true);
      const square = mul(leaf, leaf);
      expect(() => backward(square)).toThrow(
        expect.objectContaining({ code: "operator_failed", message: expect.stringMatching(/scalar outputs/) }),
      );
      backward(square, { gradient: tensorFrom(Float64Array.of(1, 10), [2]) });
      expect(numbers(accumulatedGradient(leaf))).toEqual([6, 100]);
    });
  });

  test("accumulates over calls until cleared", () => {
    scope(() => {
      const leaf = tensorFrom(Float64Array.of(1, -2), [2]).setRequiresGrad(true);
      expect(accumulatedGradient(leaf)).toBeNull();
      backward(sum(mul(leaf, leaf)));
      expect(numbers(accumulatedGradient(leaf))).toEqual([2, -4]);
      backward(sum(leaf));
      expect(numbers(accumulatedGradient(leaf))).toEqual([3, -3]);
      clearGradient(leaf);
      expect(accumulatedGradient(leaf)).toBeNull();
      backward(sum(leaf));
      expect(numbers(accumulatedGradient(leaf))).toEqual([1, 1]);
    });
  });

  test("keepGraph, and refusals", () => {
    scope(() => {
      const leaf = tensorFrom(Float64Array.of(3), [1]).setRequiresGrad(true);
      const loss = sum(mul(leaf, leaf));
      backward(loss, { keepGraph: true });
      backward(loss);
      expect(numbers(accumulatedGradient(leaf))).toEqual([12]);
      expect(() => backward(loss)).toThrow(expect.objectContaining({ code: "operator_failed" }));
      expect(() => backward(tensorFrom(Float64Array.of(1), [1]))).toThrow(/does not require grad/);
      expect(() => tensorFrom(Int32Array.of(1), [1]).setRequiresGrad(true)).toThrow(
        expect.objectContaining({ code: "operator_failed" }),
      );
    });
  });

  test("reaches a leaf through views and other dtypes", () => {
    scope(() => {
      const leaf = tensorFrom(Float32Array.of(1, 2, 3, 4), [2, 2]).setRequiresGrad(true);
      const factors = tensorFrom(Float32Array.of(10, 20, 30, 40), [2, 2]);
      backward(sum(mul(toDtype(transpose(leaf, 0, 1), "bfloat16"), factors)));
      const gradient = accumulatedGradient(leaf);
      expect(gradient?.dtype).toBe("float32");
      expect(numbers(gradient)).toEqual([10, 30, 20, 40]);
    });
  });
});

describe("what is not recorded", () => {
  test("noGrad records nothing, nests, and ends with an exception too", () => {
    scope(() => {
      const leaf = leafOf(input([2], 1));
      expect(add(leaf, leaf).requiresGrad).toBe(true);
      noGrad(() => {
        noGrad(() => expect(add(leaf, leaf).requiresGrad).toBe(false));
        expect(add(leaf, leaf).requiresGrad).toBe(false);
      });
      expect(noGrad(() => 7)).toBe(7);
      expect(() =>
        noGrad(() => {
          throw new Error("inside");
        }),
      ).toThrow("inside");
      expect(add(leaf, leaf).requiresGrad).toBe(true);
    });
  });

  test("noGrad refuses an asynchronous body", () => {
    expect(() => noGrad(async () => 1)).toThrow(expect.objectContaining({ code: "scope_misuse" }));
  });

  test("detach cuts the graph and shares the numbers", () => {
    scope(() => {
      const leaf = tensorFrom(Float64Array.of(3), [1]).setRequiresGrad(true);
      const bytes = liveTensors().bytes;
      const constant = detach(leaf);
      expect(constant.requiresGrad).toBe(false);
      expect(liveTensors().bytes).toBe(bytes);
      backward(sum(mul(leaf, constant)));
      expect(numbers(accumulatedGradient(leaf))).toEqual([3]); // and not 6
    });
  });
});
