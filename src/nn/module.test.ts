import { expect, test } from "vitest";
import { liveTensors, tensorFrom } from "../torch/index.ts";
import { GELU, Linear, Module, Parameter, placement, RMSNorm } from "./index.ts";

class Layer extends Module {
  readonly selfAttn = new Linear(2, 3, { bias: true });
  readonly postAttentionLayernorm = new RMSNorm(3, 1e-6);
}

class Model extends Module {
  readonly width = 3; // no parameter
  readonly layers = [new Layer(), new Layer()];
  readonly mlp = [new Linear(2, 2, { bias: false }), new GELU(), new Linear(2, 1, { bias: false })] as const;
  readonly lnQ = new Parameter([2]);
  readonly norm1 = new Parameter([1]);
  readonly #hidden = new Parameter([9]);

  get hidden(): Parameter {
    return this.#hidden;
  }
}

test("names are the path in snake case; layers without parameters keep their place, private fields are no part", () => {
  const shapes = Object.fromEntries(
    [...new Model().namedParameters("visual.")].map(([name, { shape }]) => [name, shape]),
  );
  expect(shapes).toEqual({
    "visual.layers.0.self_attn.weight": [3, 2],
    "visual.layers.0.self_attn.bias": [3],
    "visual.layers.0.post_attention_layernorm.weight": [3],
    "visual.layers.1.self_attn.weight": [3, 2],
    "visual.layers.1.self_attn.bias": [3],
    "visual.layers.1.post_attention_layernorm.weight": [3],
    "visual.mlp.0.weight": [2, 2],
    "visual.mlp.2.weight": [1, 2],
    "visual.ln_q": [2],
    "visual.norm1": [1],
  });
});

test("dispose frees every parameter, twice is once", () => {
  const before = liveTensors();
  const model = new Model();
  const place = placement("cpu", "float32", "owned");
  for (const [, parameter] of model.namedParameters()) {
    const elements = parameter.shape.reduce((product, length) => product * length, 1);
    parameter.assign(tensorFrom(new Float32Array(elements), parameter.shape), place);
  }
  expect(liveTensors().handles).toBe(before.handles + 10);
  model.dispose();
  model.dispose();
  expect(liveTensors()).toEqual(before);
});
