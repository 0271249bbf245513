import { describe, expect, test } from "vitest";
import { native } from "./native.ts";
import { declaredSchemas } from "./operator.ts";
import { operatorName } from "./schema.ts";
import "./ops.ts";

describe("every row of ops.ts is the schema of the loaded libtorch", () => {
  test("there are rows, each once", () => {
    expect(declaredSchemas.length).toBeGreaterThan(30);
    expect(new Set(declaredSchemas.map(([schema]) => schema)).size).toBe(declaredSchemas.length);
  });

  test.each(declaredSchemas)("%s", (schema, ...others) => {
    const { name, overload } = operatorName(schema);
    expect([schema, ...others]).toContain(native().schema(name, overload));
  });
});
