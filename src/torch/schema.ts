/**
 * @file PyTorch's operator schemas as TypeScript types: `op("aten::linear(Tensor input, ...) -> Tensor")` is a function
 * whose parameters and result follow from the text, so that a row of ops.ts and its types cannot disagree. Keyword
 * arguments stand in the schema's order like the others; those with a default may be left out from the end or be
 * undefined.
 */
import type { Generator } from "./random.ts";
import type { Device, Dtype, Tensor } from "./tensor.ts";

/** "Tensor(a!)? self, Tensor(a -> *) other" -> "Tensor? self, Tensor other": alias marks say nothing about types. */
type WithoutAlias<T extends string> = T extends `${infer Head}(${string})${infer Tail}`
  ? WithoutAlias<`${Head}${Tail}`>
  : T;

type Value<T extends string> = T extends `${infer Inner}?`
  ? Value<Inner> | null
  : T extends `${infer Element}[${string}]`
    ? readonly Value<Element>[]
    : T extends "Tensor"
      ? Tensor
      : T extends "int" | "SymInt" | "float"
        ? number
        : T extends "Scalar"
          ? number | boolean
          : T extends "bool"
            ? boolean
            : T extends "ScalarType"
              ? Dtype
              : T extends "Device"
                ? Device
                : T extends "Generator"
                  ? Generator
                  : T extends "str" | "MemoryFormat" | "Layout"
                    ? string
                    : never;

/** One piece between commas. "*" and the remains of a default such as "[1, 1]" are no arguments. */
type Parameter<P extends string> = P extends `${infer Type} ${infer Name}`
  ? Name extends `${string}=${string}`
    ? [Value<Type>?]
    : [Value<Type>]
  : [];

type Parameters<P extends string> = P extends `${infer First}, ${infer Rest}`
  ? [...Parameter<First>, ...Parameters<Rest>]
  : Parameter<P>;

type Result<T extends string> = T extends `${infer Type} ${string}` ? ResultValue<Type> : ResultValue<T>;
type ResultValue<T extends string> = T extends "Tensor[]" ? Tensor[] : Value<T>;

type Results<T extends string> = T extends `${infer First}, ${infer Rest}`
  ? [Result<First>, ...Results<Rest>]
  : [Result<T>];

type Returned<T extends string> = T extends "()"
  ? undefined
  : T extends `(${infer Several})`
    ? Results<WithoutAlias<Several>>
    : Result<WithoutAlias<T>>;

export type OperatorFunction<S extends string> = S extends `${string}(${infer Arguments}) -> ${infer Return}`
  ? (...values: Parameters<WithoutAlias<Arguments>>) => Returned<Return>
  : never;

/** The parts of a schema that the dispatcher asks for. */
export function operatorName(schema: string): { name: string; overload: string } {
  const [name = "", overload = ""] = schema.slice(0, schema.indexOf("(")).split(".");
  return { name, overload };
}

/** Whether each result of the schema is one tensor, a list of them, or something else. */
export function resultKinds(schema: string): ("tensor" | "tensors" | "other")[] {
  const text = schema.slice(schema.indexOf(") -> ") + 5).replace(/^\((.*)\)$/, "$1");
  return text.split(", ").map((result) => {
    const type = result.replace(/\([^)]*\)/, "").split(" ")[0];
    return type === "Tensor" ? "tensor" : type === "Tensor[]" ? "tensors" : "other";
  });
}
