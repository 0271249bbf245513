import { afterEach, describe, expect, test } from "vitest";
import { chooseDevice, deviceMemory, deviceWords, setThreadCount, threadCount } from "./device.ts";

const devicesHere = chooseDevice("auto") === "cpu" ? 0 : 1;

describe("chooseDevice", () => {
  test("cpu is always there", () => {
    expect(chooseDevice("cpu")).toBe("cpu");
  });

  test.each(["gpu", "", "CPU", "cuda:", "cuda:-1", "cuda:1.5", "cuda:0 ", "auto:0"])("no such word: %j", (wanted) => {
    expect(() => chooseDevice(wanted)).toThrow(
      expect.objectContaining({
        code: "usage",
        message: `Unknown device "${wanted}": expected auto, cpu, cuda or cuda:N.`,
      }),
    );
  });

  test("a device beyond those that are there", () => {
    expect(() => chooseDevice("cuda:99")).toThrow(
      expect.objectContaining({ code: "device_unavailable", message: expect.stringContaining('"cuda:99"') }),
    );
  });

  test.skipIf(devicesHere > 0)(
    "without a driver auto is the CPU, and cuda says what to do (needs a machine without GPUs)",
    () => {
      expect(chooseDevice("auto")).toBe("cpu");
      expect(() => chooseDevice("cuda")).toThrow(
        expect.objectContaining({ code: "device_unavailable", message: expect.stringContaining("--device cpu") }),
      );
    },
  );

  test.skipIf(devicesHere === 0)("with one, auto and cuda are the first (needs a GPU)", () => {
    expect(chooseDevice("auto")).toBe("cuda:0");
    expect(chooseDevice("cuda")).toBe("cuda:0");
  });
});

describe("deviceWords", () => {
  test.each([
    ["auto", ["auto"]],
    ["cuda:1", ["cuda:1"]],
    ["cpu,cpu", ["cpu", "cpu"]],
    ["cuda:0, cuda:1", ["cuda:0", "cuda:1"]],
  ])("%j -> %j", (list, words) => {
    expect(deviceWords(list)).toEqual(words);
  });

  test.each([
    ["cuda:1,cpu,cuda:1", 'The devices "cuda:1,cpu,cuda:1" name cuda:1 twice.'],
    ["cuda,cuda:0", 'The devices "cuda,cuda:0" name cuda:0 twice.'],
    ["cpu,auto", 'The devices "cpu,auto" cannot hold auto: it chooses one by itself.'],
  ])("%j is refused", (list, message) => {
    expect(() => deviceWords(list)).toThrow(expect.objectContaining({ code: "usage", message }));
  });
});

describe("deviceMemory", () => {
  test("the CPU's is the system's to tell", () => {
    expect(() => deviceMemory("cpu")).toThrow(expect.objectContaining({ code: "operator_failed" }));
  });

  test.skipIf(devicesHere === 0)("a GPU has some free, and no more than it has (needs a GPU)", () => {
    const { free, total } = deviceMemory("cuda:0");
    expect(free).toBeGreaterThan(0);
    expect(free).toBeLessThanOrEqual(total);
  });
});

describe("threads", () => {
  const before = threadCount();
  afterEach(() => setThreadCount(before));

  test("can be set", () => {
    setThreadCount(3);
    expect(threadCount()).toBe(3);
    setThreadCount(1);
    expect(threadCount()).toBe(1);
  });

  test.each([0, -2])("%d threads are refused", (count) => {
    expect(() => setThreadCount(count)).toThrow(expect.objectContaining({ code: "operator_failed" }));
    expect(threadCount()).toBe(before);
  });
});
