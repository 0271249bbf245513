import { describe, expect, expectTypeOf, test } from "vitest";
import type { Generator } from "./random.ts";
import { type OperatorFunction, operatorName, resultKinds } from "./schema.ts";
import type { Device, Dtype, Tensor } from "./tensor.ts";

type Arguments<S extends string> = Parameters<OperatorFunction<S>>;
type Result<S extends string> = ReturnType<OperatorFunction<S>>;

// expectTypeOf does nothing at run time: the type check of `npm test` is what fails.
describe("types that follow from a schema", () => {
  test("every kind of argument", () => {
    expectTypeOf<
      Arguments<"t::f(Tensor a, int b, SymInt c, float d, Scalar e, bool f, str g) -> Tensor">
    >().toEqualTypeOf<[a: Tensor, b: number, c: number, d: number, e: number | boolean, f: boolean, g: string]>();
    expectTypeOf<
      Arguments<"t::f(ScalarType a, Device b, MemoryFormat c, Layout d, Generator e) -> Tensor">
    >().toEqualTypeOf<[a: Dtype, b: Device, c: string, d: string, e: Generator]>();
  });

  test("optional arguments and lists of them", () => {
    expectTypeOf<
      Arguments<"t::f(Tensor? a, int[1]? b, Tensor?[] c, Tensor[] d, SymInt[2] e) -> Tensor">
    >().toEqualTypeOf<
      [
        a: Tensor | null,
        b: readonly number[] | null,
        c: readonly (Tensor | null)[],
        d: readonly Tensor[],
        e: readonly number[],
      ]
    >();
  });

  test("an argument with a default may be left out or undefined", () => {
    expectTypeOf<Arguments<"aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor">>().toEqualTypeOf<
      [input: Tensor, weight: Tensor, bias?: Tensor | null]
    >();
    const linear = {} as {
      call: OperatorFunction<"t::linear(Tensor input, Tensor? bias=None, bool x=False) -> Tensor">;
    };
    expectTypeOf(linear.call).toBeCallableWith({} as Tensor);
    expectTypeOf(linear.call).toBeCallableWith({} as Tensor, null);
    expectTypeOf(linear.call).toBeCallableWith({} as Tensor, undefined, true);
  });

  test("keyword arguments stand in order; one without a default makes those before it required", () => {
    expectTypeOf<Arguments<"t::f(Tensor self, *, Scalar alpha=1, Tensor(a!) out) -> Tensor(a!)">>().toEqualTypeOf<
      [self: Tensor, alpha: number | boolean | undefined, out: Tensor]
    >();
  });

  test("defaults with commas and alias marks with blanks", () => {
    expectTypeOf<
      Arguments<"aten::conv2d(Tensor input, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt groups=1) -> Tensor">
    >().toEqualTypeOf<[Tensor, (readonly number[])?, (readonly number[])?, number?]>();
    expectTypeOf<
      Arguments<"aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> Tensor(a)[]">
    >().toEqualTypeOf<[self: Tensor, splitSize: number, dim?: number]>();
    expectTypeOf<Arguments<"t::f(Tensor(a!)[] self, Tensor(b!)? out) -> ()">>().toEqualTypeOf<
      [self: readonly Tensor[], out: Tensor | null]
    >();
  });

  test("results", () => {
    expectTypeOf<Result<"t::f(Tensor a) -> Tensor">>().toEqualTypeOf<Tensor>();
    expectTypeOf<Result<"t::f(Tensor(a!) a) -> Tensor(a!)">>().toEqualTypeOf<Tensor>();
    expectTypeOf<Result<"t::f(Tensor(a -> *) a) -> Tensor(a)[]">>().toEqualTypeOf<Tensor[]>();
    expectTypeOf<Result<"t::f(Tensor a) -> (Tensor values, Tensor indices)">>().toEqualTypeOf<[Tensor, Tensor]>();
    expectTypeOf<Result<"t::f(Tensor a) -> (Tensor(a!), Tensor(b!), int)">>().toEqualTypeOf<[Tensor, Tensor, number]>();
    expectTypeOf<Result<"t::f(Tensor a) -> (Tensor(a!) values, Tensor[] parts)">>().toEqualTypeOf<[Tensor, Tensor[]]>();
    expectTypeOf<Result<"t::f(Tensor a) -> bool">>().toEqualTypeOf<boolean>();
    expectTypeOf<Result<"t::f(Tensor a) -> ()">>().toEqualTypeOf<undefined>();
  });
});

test("operatorName splits at the overload", () => {
  expect(operatorName("aten::add.Tensor(Tensor self, float p=0.) -> Tensor")).toEqual({
    name: "aten::add",
    overload: "Tensor",
  });
  expect(operatorName("aten::silu(Tensor self, float p=0.) -> Tensor")).toEqual({ name: "aten::silu", overload: "" });
});

test.each([
  ["t::f(Tensor a) -> Tensor", ["tensor"]],
  ["t::f(Tensor(a -> *) self, int dim=0) -> Tensor(a)[]", ["tensors"]],
  ["t::f(Tensor(a!) a) -> Tensor(a!)", ["tensor"]],
  ["t::f(Tensor a) -> (Tensor values, Tensor indices)", ["tensor", "tensor"]],
  ["t::f(Tensor a) -> (Tensor(a!) out, Tensor[] parts, int n)", ["tensor", "tensors", "other"]],
  ["t::f(Tensor a) -> bool", ["other"]],
  ["t::f(Tensor a) -> ()", ["other"]],
] as const)("resultKinds of %s", (schema, kinds) => {
  expect(resultKinds(schema)).toEqual(kinds);
});
