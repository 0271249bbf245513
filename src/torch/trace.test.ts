/** @file What a tracer is told: every call with its arguments, spans around them, nothing once it is taken away. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { linear, scope, setTracer, tensorFrom, traced } from "./index.ts";
import { Tensor } from "./tensor.ts";

interface Told {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
  readonly shapes: (readonly number[])[];
}

function listen(): Told[] {
  const told: Told[] = [];
  setTracer((name, begin, end, inputs) => {
    told.push({
      name,
      begin,
      end,
      shapes: inputs.filter((input) => input instanceof Tensor).map(({ shape }) => shape),
    });
  });
  return told;
}

afterEach(() => setTracer(undefined));

function multiply(): number {
  return scope(() => {
    const x = tensorFrom(Float32Array.of(1, 2), [1, 2]);
    return linear(x, x).toFloat32Array()[0] ?? Number.NaN;
  });
}

test("calls are told in the order of their ends, with the shapes of what they were given", () => {
  const told = listen();
  const before = performance.now();
  expect(traced("all of it", multiply)).toBe(5);
  const after = performance.now();
  expect(told.map(({ name }) => name)).toEqual(["copy in", "aten::linear", "copy out", "free", "all of it"]);
  expect(told[1]?.shapes).toEqual([
    [1, 2],
    [1, 2],
  ]);
  const whole = told.at(-1);
  for (const { begin, end } of told) {
    expect(begin).toBeGreaterThanOrEqual(whole?.begin ?? Number.NaN);
    expect(end).toBeLessThanOrEqual(whole?.end ?? Number.NaN);
    expect(end).toBeGreaterThanOrEqual(begin);
  }
  expect(whole?.begin).toBeGreaterThanOrEqual(before);
  expect(whole?.end).toBeLessThanOrEqual(after);
});

test("an asynchronous span ends when its promise does", async () => {
  const told = listen();
  let waited = Number.NaN;
  const wait = async () => {
    await sleep(30);
    waited = performance.now();
    return "done";
  };
  const result = traced("wait", wait);
  expect(told).toEqual([]);
  expect(await result).toBe("done");
  expect(told.map(({ name }) => name)).toEqual(["wait"]);
  expect(told[0]?.end).toBeGreaterThanOrEqual(waited);
});

test("what fails leaves no span, and its error passes through", async () => {
  const told = listen();
  const failure = new Error("no");
  const fail = (): never => {
    throw failure;
  };
  expect(() => traced("thrown", fail)).toThrow(failure);
  await expect(traced("rejected", async () => fail())).rejects.toBe(failure);
  expect(told).toEqual([]);
});

test("without a tracer nothing is told", () => {
  const told = listen();
  setTracer(undefined);
  expect(traced("span", multiply)).toBe(5);
  expect(told).toEqual([]);
});
