import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { NpyFile, type NpyType } from "./npy.ts";

const folder = mkdtempSync(join(tmpdir(), "vl-reward-npy-"));
const path = join(folder, "matrix.npy");
let fd: number;

beforeEach(() => {
  fd = openSync(path, "w");
});
afterEach(() => closeSync(fd));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const begin = (columns: number, type: NpyType) => NpyFile.begin(fd, path, columns, type);

/** The bytes as numpy.lib.format describes version 1.0: magic, version, length, text padded with spaces to 64 bytes, data. */
const published = (text: string, data: readonly number[]): Buffer =>
  Buffer.concat([
    Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 118, 0]),
    Buffer.from(`${text.padEnd(117)}\n`),
    Buffer.from(data),
  ]);

test("float32 in C order", () => {
  const file = begin(3, "float32");
  file.append(Float32Array.of(1, -2, 0.1));
  file.append(Float32Array.of(0, 2 ** -149, 3));
  const data = [0, 0, 128, 63, 0, 0, 0, 192, 205, 204, 204, 61, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 64, 64];
  expect(readFileSync(path)).toEqual(published("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", data));
  expect(file.rows).toBe(2);
});

test("float16", () => {
  begin(3, "float16").append(Float32Array.of(1, -2, 0.1));
  expect(readFileSync(path)).toEqual(
    published("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 3), }", [0, 60, 0, 192, 102, 46]),
  );
});

test("no rows yet, and then the first: the file is whole each time", () => {
  const file = begin(2, "float32");
  expect(readFileSync(path)).toEqual(published("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", []));
  file.append(Float32Array.of(0, 0));
  expect(readFileSync(path)).toEqual(
    published("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", [0, 0, 0, 0, 0, 0, 0, 0]),
  );
});

test("a row that is part of a larger array", () => {
  begin(1, "float32").append(Float32Array.of(5, 1, 5).subarray(1, 2));
  expect([...readFileSync(path).subarray(128)]).toEqual([0, 0, 128, 63]);
});

test("what the file held before is gone", () => {
  truncateSync(path, 10_000);
  begin(2, "float32");
  expect(readFileSync(path)).toHaveLength(128);
});

test("what is no regular file is refused", () => {
  const nowhere = openSync("/dev/null", "w");
  try {
    expect(() => NpyFile.begin(nowhere, "/dev/null", 2, "float32")).toThrow(
      expect.objectContaining({ code: "output_unwritable" }),
    );
  } finally {
    closeSync(nowhere);
  }
});
