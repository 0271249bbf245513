import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AppendFile } from "./append-file.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vl-reward-append-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const hasLimits = process.platform === "linux" && spawnSync("prlimit", ["--version"]).status === 0;

/** Sets the size above which the system refuses to let this process write files. */
function limitFileSize(bytes: number | "unlimited"): void {
  execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${bytes}:`]);
}

describe("a file that grows by records", () => {
  it("keeps the bytes that it is told to and appends behind them", () => {
    const path = join(folder, "kept");
    writeFileSync(path, "one\ntwo\nthr");
    const file = AppendFile.open(path, 8);
    file.append(Buffer.from("three\n"));
    file.append(Buffer.from("four\n"));
    file.sync();
    expect(readFileSync(path, "utf8")).toBe("one\ntwo\nthree\nfour\n");
    file.close();
  });

  it("says which file cannot be opened and why", () => {
    expect(() => AppendFile.open(join(folder, "missing", "log"), 0)).toThrow(
      expect.objectContaining({
        code: "output_unwritable",
        message: expect.stringContaining(`${join(folder, "missing", "log")} cannot be written: ENOENT`),
      }),
    );
  });

  it.each<[string, (place: string) => void, RegExp]>([
    ["deleted", (place) => rmSync(place, { recursive: true }), /log was deleted or moved away while/],
    [
      "moved away with its folder",
      (place) => renameSync(place, `${place}.moved`),
      /log was deleted or moved away while/,
    ],
    [
      "replaced by another",
      (place) => {
        writeFileSync(join(place, "other"), "one\n");
        renameSync(join(place, "other"), join(place, "log"));
      },
      /log was replaced by another file while/,
    ],
  ])("takes no record once it is %s", (what, change, message) => {
    const place = mkdtempSync(join(folder, "place-"));
    const file = AppendFile.open(join(place, "log"), 0);
    file.append(Buffer.from("one\n"));
    change(place);
    const record = () => file.append(Buffer.from("two\n"));
    const refused = { code: "output_unwritable", message: expect.stringMatching(message) };
    expect(record, what).toThrow(expect.objectContaining(refused));
    file.close();
  });

  it.skipIf(!existsSync("/dev/full"))("says that the disk is full (needs /dev/full)", () => {
    const file = AppendFile.open("/dev/full", 0);
    expect(() => file.append(Buffer.from("x\n"))).toThrow(
      expect.objectContaining({
        code: "output_unwritable",
        message: expect.stringContaining("/dev/full cannot be written: the disk is full"),
      }),
    );
    file.close();
  });

  it.skipIf(!hasLimits)(
    "takes back a record of which only a part could be written, and goes on when there is room (needs prlimit)",
    () => {
      const path = join(folder, "limited");
      const file = AppendFile.open(path, 0);
      file.append(Buffer.from(`${"a".repeat(999)}\n`));
      limitFileSize(1500);
      try {
        expect(() => file.append(Buffer.from(`${"b".repeat(999)}\n`))).toThrow(
          expect.objectContaining({ code: "output_unwritable" }),
        );
      } finally {
        limitFileSize("unlimited");
      }
      expect(readFileSync(path, "utf8")).toBe(`${"a".repeat(999)}\n`);
      file.append(Buffer.from("c\n"));
      expect(readFileSync(path, "utf8")).toBe(`${"a".repeat(999)}\nc\n`);
      file.close();
    },
  );
});
