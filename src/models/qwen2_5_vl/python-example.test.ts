import { expect, test } from "vitest";
import type { ExampleOptions } from "../family.ts";
import { pythonExample } from "./python-example.ts";

const options: ExampleOptions = {
  dtype: "bfloat16",
  head: "value_head",
  headLayers: 1,
  limits: { minPixels: 3136, maxPixels: 12_845_056 },
};

test("scores as it was trained: this precision, these pixels", () => {
  const text = pythonExample(options);
  expect(text).toContain("torch_dtype=torch.bfloat16)");
  expect(text).toContain('"min_pixels": 3136, "max_pixels": 12845056}');
});

test("scores with the head that it has", () => {
  expect(pythonExample(options)).toContain('head["weight"][0] @ hidden + head["bias"][0]');
  const text = pythonExample({ ...options, headLayers: 2 });
  expect(text).toContain('silu(head["0.weight"] @ hidden + head["0.bias"])');
  expect(text).toContain('head["2.weight"][0] @ ');
  expect(text).toContain('+ head["2.bias"][0]');
});
