import { expect, test } from "vitest";
import { add, liveTensors, mul, type Tensor, tensorFrom } from "../torch/index.ts";
import { runLayers } from "./index.ts";

const x = tensorFrom(Float32Array.of(1, 2), [2]);
const shifts = [1, 10, 100].map((shift) => tensorFrom(Float32Array.of(shift, shift), [2]));

test("layers follow each other, each with its index", () => {
  const seen: number[] = [];
  const result = runLayers(shifts, x, (shift, hidden, index) => {
    seen.push(index);
    return add(mul(hidden, hidden), shift); // x^2 + shift: the order of layers matters
  });
  expect(seen).toEqual([0, 1, 2]);
  expect([...result.toFloat32Array()]).toEqual([((1 + 1) ** 2 + 10) ** 2 + 100, ((4 + 1) ** 2 + 10) ** 2 + 100]);
  result.dispose();
});

test("memory does not grow with the number of layers; the input stays", () => {
  const before = liveTensors();
  const atLayer: number[] = [];
  const inputs: Tensor[] = [];
  const result = runLayers([...shifts, ...shifts, ...shifts], x, (shift, hidden) => {
    atLayer.push(liveTensors().handles - before.handles);
    inputs.push(hidden);
    return add(mul(hidden, shift), shift); // two tensors, one of them left behind
  });
  expect(atLayer).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1]); // what the layer before handed on
  expect(liveTensors().handles).toBe(before.handles + 1);
  expect(inputs.map((tensor) => tensor.isDisposed)).toEqual([false, ...new Array<boolean>(8).fill(true)]);
  result.dispose();
  expect(liveTensors()).toEqual(before);
});

test("a layer may hand on what it was given; without layers the input comes back", () => {
  const kept = runLayers([1, 2, 3], x, (_, hidden, index) => (index === 1 ? add(hidden, hidden) : hidden));
  expect([...kept.toFloat32Array()]).toEqual([2, 4]);
  kept.dispose();
  expect(runLayers([], x, () => x)).toBe(x);
  expect(x.isDisposed).toBe(false);
});
