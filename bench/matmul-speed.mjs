/** @file What the machine can do: the speed of one large matrix product through the same door as the model's. */

/** @type {typeof import("../src/torch/index.ts")} */
const { Generator, keep, linear, narrow, noGrad, randn, reshape, scope, toDevice } = await import(
  new URL("../dist/torch/index.js", import.meta.url).href
);

const [rows, inputs, outputs] = [2048, 4096, 4096];

/** @typedef {import("../src/torch/index.ts").Tensor} Tensor */

/** @type {{ x: Tensor, weight: Tensor } | undefined} */
let operands;

/**
 * -> FLOP/s. The first call makes the operands and warms up; all calls of a process are for one dtype and device.
 *
 * @param {"float32" | "bfloat16"} dtype
 * @param {string} device
 */
export function matmulSpeed(dtype, device) {
  const repeats = device === "cpu" ? 1 : 100; // a GPU does one in less than its start takes
  if (!operands) {
    operands = noGrad(() =>
      scope(() => {
        const generator = new Generator(0);
        const x = keep(toDevice(randn([rows, inputs], generator), device, dtype));
        return { x, weight: keep(toDevice(randn([outputs, inputs], generator), device, dtype)) };
      }),
    );
    multiply(operands, repeats);
  }
  const began = performance.now();
  multiply(operands, repeats);
  const seconds = (performance.now() - began) / 1000;
  return (2 * rows * inputs * outputs * repeats) / seconds;
}

/**
 * @param {{ x: Tensor, weight: Tensor }} operands
 * @param {number} repeats
 */
function multiply({ x, weight }, repeats) {
  noGrad(() =>
    scope(() => {
      for (let repeat = 1; repeat < repeats; repeat++) scope(() => linear(x, weight));
      narrow(reshape(linear(x, weight), [-1]), 0, 0, 1).toTypedArray(); // waits for the device
    }),
  );
}
