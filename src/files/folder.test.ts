import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeFolder } from "./folder.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vl-reward-folder-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("a folder", () => {
  it("is made with those around it, and may be there", () => {
    for (let turn = 0; turn < 2; turn++) makeFolder(join(folder, "a/b/c"));
    expect(statSync(join(folder, "a/b/c")).isDirectory()).toBe(true);
    makeFolder(folder);
  });

  it("is not made where a file is, or in one", () => {
    writeFileSync(join(folder, "file"), "");
    expect(() => makeFolder(join(folder, "file"))).toThrow("EEXIST");
    expect(() => makeFolder(join(folder, "file/below/it"))).toThrow("ENOTDIR");
  });

  it.skipIf(!existsSync("/proc/self"))("is refused at once where the system takes none (needs /proc)", () => {
    expect(() => makeFolder("/proc/vl-reward")).toThrow("ENOENT");
    expect(() => makeFolder("/proc/vl-reward/below/it")).toThrow("ENOENT");
  });
});
