import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { setThreadCount, setTracer, threadCount } from "../../torch/index.ts";
import { chooseDtype, fasterDtype, worthwhile } from "./precision.ts";

describe("fasterDtype", () => {
  let root = "";
  let folder = "";
  const file = (): string => join(folder, "matmul-speeds.json");
  const stored = (): { format: number; machines: Record<string, { float32: number; bfloat16: number }> } =>
    JSON.parse(readFileSync(file(), "utf8"));
  /** Makes the memory say this for the one machine that is in it. */
  const claim = (speeds: { float32: number; bfloat16: number }): void => {
    const machines = Object.fromEntries(Object.keys(stored().machines).map((machine) => [machine, speeds]));
    writeFileSync(file(), JSON.stringify({ format: 1, machines }));
  };
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "precision-"));
    folder = join(root, "not", "there");
  });
  afterEach(() => {
    setTracer(undefined);
    rmSync(root, { recursive: true, force: true });
  });

  it("measures once, by a dozen products at most, and remembers", () => {
    let products = 0;
    setTracer((name) => {
      if (name === "aten::linear") products++;
    });
    const first = fasterDtype("cpu", folder);
    expect(products).toBeGreaterThanOrEqual(2); // one of each kind
    expect(products).toBeLessThanOrEqual(12);
    products = 0;
    expect(fasterDtype("cpu", folder)).toEqual({ ...first, remembered: true });
    expect(products).toBe(0);
    expect(first.remembered).toBe(false);
    expect(first.speeds.float32).toBeGreaterThan(0.1);
    expect(first.speeds.bfloat16).toBeGreaterThan(0.1);
    expect(readdirSync(folder)).toEqual(["matmul-speeds.json"]);
  });

  it("chooses bfloat16 only where it is clearly faster", () => {
    fasterDtype("cpu", folder);
    claim({ float32: 100, bfloat16: 100 * worthwhile });
    expect(fasterDtype("cpu", folder).dtype).toBe("bfloat16");
    claim({ float32: 100, bfloat16: 100 * worthwhile - 1 });
    expect(fasterDtype("cpu", folder).dtype).toBe("float32");
    claim({ float32: 140, bfloat16: 17 });
    expect(fasterDtype("cpu", folder).dtype).toBe("float32");
  });

  it("measures again with another number of threads, and keeps what it knew", () => {
    const before = threadCount();
    fasterDtype("cpu", folder);
    setThreadCount(before + 1);
    try {
      expect(fasterDtype("cpu", folder).remembered).toBe(false);
    } finally {
      setThreadCount(before);
    }
    expect(fasterDtype("cpu", folder).remembered).toBe(true);
    expect(Object.keys(stored().machines)).toHaveLength(2);
  });

  it.each([
    "",
    "{",
    "[]",
    '{"format":2,"machines":{}}',
    '{"format":1,"machines":{"x":{"float32":-1,"bfloat16":"fast"}}}',
  ])("measures again and replaces a memory that holds %j", (damaged) => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(file(), damaged);
    expect(fasterDtype("cpu", folder).remembered).toBe(false);
    expect(Object.keys(stored().machines)).toHaveLength(1);
    expect(fasterDtype("cpu", folder).remembered).toBe(true);
  });

  it("does without a memory that cannot be written", () => {
    mkdirSync(join(folder, ".."), { recursive: true });
    writeFileSync(folder, "a file where the folder should be"); // holds for root as well, unlike permissions
    expect(fasterDtype("cpu", folder).remembered).toBe(false);
    rmSync(folder);
    mkdirSync(folder);
    chmodSync(folder, 0o500);
    expect(fasterDtype("cpu", folder).speeds.float32).toBeGreaterThan(0.1);
  });
});

describe("chooseDtype", () => {
  it.each(["float32", "bfloat16"] as const)("takes %s at its word", (dtype) => {
    expect(chooseDtype(dtype, "cpu")).toBe(dtype);
  });
});
