import { createHash } from "node:crypto";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { DeviceLoad } from "./device-load.ts";

const keyOf = (prompt: string): string => createHash("sha256").update(prompt).digest("base64url");
const keys = Array.from({ length: 200 }, (_, index) => keyOf(`prompt ${index}`));

describe("idle devices", () => {
  test("a prompt has one of its own, and prompts are spread over all", () => {
    const load = DeviceLoad.forDevices(3);
    const assigned = keys.map((key) => {
      const devices = [10, 1000].map((prompt) => {
        const device = load.assign(key, { prompt, all: prompt + 5 });
        load.done(device, prompt + 5);
        return device;
      });
      expect(new Set(devices).size).toBe(1);
      return devices[0];
    });
    for (const device of [0, 1, 2]) {
      expect(assigned.filter((other) => other === device).length).toBeGreaterThan(keys.length / 6);
    }
  });
});

describe("busy devices", () => {
  const [key = ""] = keys;

  test("a prompt waits for its own device while that is behind by less than the prompt", () => {
    const load = DeviceLoad.forDevices(2);
    const own = load.assign(key, { prompt: 100, all: 90 });
    expect(load.assign(key, { prompt: 100, all: 10 })).toBe(own); // behind by 90
    expect(load.assign(key, { prompt: 100, all: 1 })).toBe(own); // by 100
    expect(load.assign(key, { prompt: 100, all: 7 })).toBe(1 - own); // by 101
    load.done(own, 10);
    expect(load.assign(key, { prompt: 100, all: 1 })).toBe(own);
  });

  test("whatever comes, no device is left behind by more than a prompt and a group", () => {
    const load = DeviceLoad.forDevices(4);
    const given = [0, 0, 0, 0];
    for (let index = 0; index < 1000; index++) {
      const prompt = 10 + ((index * 37) % 90);
      const device = load.assign(keys[(index * index) % 7] ?? "", { prompt, all: prompt + 20 }); // seven prompts
      given[device] = (given[device] ?? 0) + prompt + 20;
      expect(Math.max(...given) - Math.min(...given)).toBeLessThanOrEqual(100 + 120);
    }
  });
});

test("threads share it", async () => {
  const load = DeviceLoad.forDevices(1);
  const program = "Atomics.add(new Int32Array(require('node:worker_threads').workerData), 0, 500)";
  const worker = new Worker(program, { eval: true, workerData: load.buffer });
  await new Promise((resolve) => worker.on("exit", resolve));
  expect(new Int32Array(load.buffer)[0]).toBe(500);
  const other = new DeviceLoad(load.buffer);
  other.done(0, 200);
  expect(new Int32Array(load.buffer)[0]).toBe(300);
});
