/** @file Files of torch.save, as torch itself writes them (test/fixtures/torch-files): the numbers that it saved, and nothing executed. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, test } from "vitest";
import { mapFile, scope, toDtype } from "../torch/index.ts";
import { readTorchFile } from "./torch-file.ts";

const fixtures = path.join(import.meta.dirname, "../../test/fixtures/torch-files");
const values: Record<string, unknown> = JSON.parse(readFileSync(path.join(fixtures, "values.json"), "utf8"));
const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-torch-file-"));
afterAll(() => rmSync(folder, { recursive: true }));

const shapeOf = (value: unknown): number[] => (Array.isArray(value) ? [value.length, ...shapeOf(value[0])] : []);
const flat = (value: unknown): number[] => (Array.isArray(value) ? value.flatMap(flat) : [Number(value)]);

/** The numbers of all tensors, in float64 as torch gave them. */
function numbersIn(file: string): Record<string, { shape: readonly number[]; numbers: number[] }> {
  const tensors = [...readTorchFile(file)];
  return scope(() => {
    const mapped = mapFile(
      file,
      tensors.map(([, place]) => place),
    );
    return Object.fromEntries(
      tensors.map(([name, { shape }], index) => {
        const tensor = mapped[index];
        if (!tensor) throw new Error(`${name} is not there`);
        return [name, { shape, numbers: [...toDtype(tensor, "float32").toFloat32Array()] }];
      }),
    );
  });
}

const expected = Object.fromEntries(
  Object.entries(values).map(([name, value]) => [
    name,
    { shape: shapeOf(value), numbers: flat(value).map(Math.fround) },
  ]),
);

test.each(["dict.bin", "ordered.bin"])("%s: every tensor, its shape and numbers", (name) => {
  expect(numbersIn(path.join(fixtures, name))).toEqual(expected);
});

describe("what is more than plain tensors by their names is refused, and nothing runs", () => {
  it.each(["transposed.bin", "evil.bin", "module.bin"])("%s", (name) => {
    expect(() => readTorchFile(path.join(fixtures, name))).toThrow(
      expect.objectContaining({
        code: "checkpoint_unsupported",
        message: expect.stringContaining("nothing in the file is executed"),
      }),
    );
    expect(existsSync("/tmp/vl-reward-was-executed")).toBe(false);
  });

  it("a file from before PyTorch 1.6", () => {
    expect(() => readTorchFile(path.join(fixtures, "legacy.bin"))).toThrow(/since PyTorch 1\.6/);
  });
});

test("a file that is cut anywhere, or has other bytes, is an error of ours or gives tensors within the file", () => {
  const whole = readFileSync(path.join(fixtures, "dict.bin"));
  const file = path.join(folder, "damaged.bin");
  let refused = 0;
  for (let attempt = 0; attempt < 300; attempt++) {
    const damaged = attempt < 100 ? whole.subarray(0, Math.floor((attempt / 100) * whole.length)) : Buffer.from(whole);
    if (attempt >= 100) {
      for (let flips = 0; flips < 3; flips++)
        damaged[(attempt * 7919 + flips * 104_729) % damaged.length] = (attempt * 31 + flips) % 256;
    }
    writeFileSync(file, damaged);
    try {
      for (const [, { offset, shape }] of readTorchFile(file)) {
        expect(offset).toBeLessThanOrEqual(damaged.length);
        expect(shape.every((length) => length >= 0)).toBe(true);
      }
    } catch (error) {
      refused++;
      expect(error).toMatchObject({ code: expect.stringMatching(/^checkpoint_(damaged|unsupported)$/) });
    }
  }
  expect(refused).toBeGreaterThan(100);
});
