/** @file Turns a schema into a function: resolves the operator at its first call and wraps handles both ways. */
import { VlRewardError } from "../errors.ts";
import { native, translated } from "./native.ts";
import { Generator } from "./random.ts";
import { type OperatorFunction, operatorName, resultKinds } from "./schema.ts";
import { Tensor } from "./tensor.ts";
import { traced } from "./trace.ts";

/** Every schema that op() has been given, with its other spellings; a test holds each against the live one. */
export const declaredSchemas: (readonly [schema: string, ...others: string[]])[] = [];

/**
 * -> the operator as a function typed by its schema. Errors: `operator_failed`, with the operator and the shapes.
 *
 * @param others how the same operator is written in other versions of libtorch; arguments follow the live schema
 */
export function op<const S extends string>(schema: S, ...others: string[]): OperatorFunction<S> {
  declaredSchemas.push([schema, ...others]);
  const kinds = resultKinds(schema);
  const { name } = operatorName(schema);
  let operator: number | undefined;
  const call = (...values: unknown[]): unknown => {
    operator ??= resolve(schema);
    const id = operator;
    const handles = values.map(toNative);
    const result = traced(name, () => translated(() => native().call(id, ...handles)), values);
    if (kinds.length === 1) return fromNative(kinds[0], result);
    return (result as unknown[]).map((item, index) => fromNative(kinds[index], item));
  };
  return call as OperatorFunction<S>;
}

function resolve(schema: string): number {
  const { name, overload } = operatorName(schema);
  return translated(() => native().resolve(name, overload));
}

function toNative(value: unknown): unknown {
  if (value instanceof Tensor || value instanceof Generator) return value.handle;
  if (Array.isArray(value)) return value.map(toNative);
  return value;
}

function fromNative(kind: "tensor" | "tensors" | "other" | undefined, value: unknown): unknown {
  if (kind === "other" || value === null) return value;
  if (typeof value === "number") return new Tensor(value);
  if (Array.isArray(value)) return value.map((handle: number) => new Tensor(handle));
  throw new VlRewardError("operator_failed", `Expected tensors from an operator, got ${String(value)}.`);
}
