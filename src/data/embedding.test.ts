import { describe, expect, it } from "vitest";
import { embeddingLine, rounded } from "./embedding.ts";

const vectors = [Float32Array.of(0.1, -2), Float32Array.of(1 / 3, 0)];

describe("lines", () => {
  it("have the shape of their record", () => {
    expect(embeddingLine({ id: 7, kind: "conversation", vectors: vectors.slice(1) }, "float32")).toBe(
      '{"id":7,"embedding":[0.33333334,0]}\n',
    );
    expect(embeddingLine({ id: "p", kind: "prompt", vectors: vectors.slice(1) }, "float32")).toBe(
      '{"id":"p","embedding":[0.33333334,0]}\n',
    );
    expect(embeddingLine({ id: "a", kind: "candidates", vectors }, "float32")).toBe(
      '{"id":"a","embeddings":[[0.1,-2],[0.33333334,0]]}\n',
    );
    expect(embeddingLine({ id: "a", kind: "pair", vectors }, "float32")).toBe(
      '{"id":"a","chosen":[0.1,-2],"rejected":[0.33333334,0]}\n',
    );
    expect(embeddingLine({ id: 0, error: { code: "invalid_json", message: "no" } }, "float16")).toBe(
      '{"id":0,"error":{"code":"invalid_json","message":"no"}}\n',
    );
  });

  it("have the few digits that float16 needs", () => {
    const third = rounded(Float32Array.of(1 / 3, 0.1), "float16");
    expect([...third]).toEqual([0.333251953125, 0.0999755859375]);
    expect(embeddingLine({ id: 0, kind: "conversation", vectors: [third] }, "float16")).toBe(
      '{"id":0,"embedding":[0.3333,0.1]}\n',
    );
  });
});

describe("numbers that are not finite", () => {
  it.each([
    [Number.NaN, "float32"],
    [Number.POSITIVE_INFINITY, "float32"],
    [Number.NaN, "float16"],
    [65_520, "float16"],
    [-1e9, "float16"],
  ] as const)("%d in %s is an error", (value, precision) => {
    expect(() => rounded(Float32Array.of(1, value), precision)).toThrow(
      expect.objectContaining({ code: "score_not_finite" }),
    );
  });

  it("are none below the largest float16", () => {
    expect([...rounded(Float32Array.of(65_519, 65_520), "float32")]).toEqual([65_519, 65_520]);
    expect([...rounded(Float32Array.of(65_519), "float16")]).toEqual([65_504]);
  });
});
