import { describe, expect, test } from "vitest";
import { type Dtype, liveTensors, scope, type Tensor, tensorFrom, toDtype } from "../torch/index.ts";
import { Converter, Parameter, placement } from "./index.ts";

const values = Float32Array.of(0.5, -1.5, 2, 3.25, -4, 0.125); // exact in all float formats
const matrix = (dtype: Dtype): Tensor => scope(() => toDtype(tensorFrom(values, [2, 3]), dtype));

describe("Parameter", () => {
  test.each<[stored: Dtype, computed: Dtype]>([
    ["bfloat16", "float32"],
    ["float16", "float32"],
    ["float32", "float32"],
  ])("a mapped matrix stays as it is stored: %s for %s", (stored, computed) => {
    const place = placement("cpu", computed, "mapped");
    const parameter = new Parameter([2, 3]);
    const tensor = matrix(stored);
    parameter.assign(tensor, place);
    expect(parameter.stored).toBe(tensor);
    expect(parameter.dtype).toBe(computed);
    scope(() => {
      expect(parameter.value.dtype).toBe(computed);
      expect(parameter.value.toTypedArray()).toEqual(values);
    });
    parameter.dispose();
    place.converter.dispose();
  });

  test.each<[what: string, shape: number[], fixed: Dtype | undefined, storage: "mapped" | "owned"]>([
    ["a vector", [6], undefined, "mapped"],
    ["a matrix of a dtype of its own", [2, 3], "float32", "mapped"],
    ["an owned matrix", [2, 3], undefined, "owned"],
  ])("%s is converted once, when it is assigned", (_, shape, fixed, storage) => {
    const before = liveTensors();
    const parameter = new Parameter(shape, fixed);
    const tensor = scope(() => toDtype(tensorFrom(values, shape), "bfloat16"));
    parameter.assign(tensor, placement("cpu", fixed ? "bfloat16" : "float32", storage));
    expect(tensor.isDisposed).toBe(true);
    expect(parameter.value).toBe(parameter.stored);
    expect(parameter.value.toTypedArray()).toEqual(values);
    expect(liveTensors()).toEqual({ handles: before.handles + 1, bytes: before.bytes + 24 });
    parameter.dispose();
    expect(liveTensors()).toEqual(before);
  });

  test("an owned parameter shares nothing with what it was made from", () => {
    const parameter = new Parameter([6]);
    const source = tensorFrom(values, [6]);
    parameter.assign(source, placement("cpu", "float32", "owned"));
    expect(source.isDisposed).toBe(true);
    expect(parameter.value.setRequiresGrad(true).requiresGrad).toBe(true);
    parameter.dispose();
  });

  test("it outlives the scope in which it is assigned; a new value frees the former", () => {
    const before = liveTensors();
    const place = placement("cpu", "float32", "mapped");
    const parameter = new Parameter([2, 3]);
    scope(() => parameter.assign(matrix("float32"), place));
    scope(() => parameter.assign(matrix("float32"), place));
    expect(liveTensors().handles).toBe(before.handles + 1);
    expect(parameter.value.toTypedArray()).toEqual(values);
    parameter.dispose();
    expect(liveTensors()).toEqual(before);
  });

  test("one that nothing filled says so", () => {
    expect(() => new Parameter([2, 3]).value).toThrow(expect.objectContaining({ code: "checkpoint_mismatch" }));
  });
});

describe("Converter", () => {
  test("one buffer as large as the largest, whatever comes by", () => {
    const before = liveTensors();
    const converter = new Converter();
    const convert = (rows: number, columns: number): Float32Array =>
      scope(() => {
        const source = tensorFrom(
          Float32Array.from({ length: rows * columns }, (_, i) => i),
          [rows, columns],
        );
        const converted = converter.convert(toDtype(source, "bfloat16"), "float32");
        expect(converted.shape).toEqual([rows, columns]);
        return converted.toFloat32Array();
      });
    expect([...convert(2, 3)]).toEqual([0, 1, 2, 3, 4, 5]);
    expect(liveTensors()).toEqual({ handles: before.handles + 1, bytes: before.bytes + 24 });
    expect([...convert(4, 3)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect([...convert(1, 2)]).toEqual([0, 1]);
    expect(liveTensors()).toEqual({ handles: before.handles + 1, bytes: before.bytes + 48 });
    converter.dispose();
    expect(liveTensors()).toEqual(before);
    expect([...convert(1, 2)]).toEqual([0, 1]); // and it can be used again
    converter.dispose();
  });

  test("a change of dtype takes another buffer", () => {
    const converter = new Converter();
    scope(() => {
      const source = matrix("bfloat16");
      expect(converter.convert(source, "float32").toTypedArray()).toEqual(values);
      expect(converter.convert(source, "float64").toTypedArray()).toEqual(Float64Array.from(values));
    });
    converter.dispose();
  });
});
