/** @file Scores to the last bit as they were before the engine was rebuilt (test/fixtures/bits says with what, and why only here). */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { libtorchVersion } from "../../src/torch/index.ts";
import { run } from "../cli/command.ts";

const bits = path.join(import.meta.dirname, "../fixtures/bits");

/** What MKL and libtorch choose their kernels by, as far as the lines were made with it. */
function isSameKind(): boolean {
  const file = "/proc/cpuinfo";
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const flags = new Set(/^flags\s*: (.*)$/m.exec(text)?.[1]?.split(" "));
  const isVendor = /^vendor_id\s*: AuthenticAMD$/m.test(text);
  return isVendor && flags.has("avx2") && flags.has("avx512f") && /^2\.13\.0\b/.test(libtorchVersion());
}

const inputs = [
  ...["plain", "grouped"].map((shape) => ({
    name: shape,
    args: ["test/fixtures/parity/cases.jsonl", "--model", `test/fixtures/parity/${shape}`],
  })),
  ...["examples", "photographs", "records", "pairs"].map((name) => ({ name, args: [`examples/${name}.jsonl`] })),
];

describe.skipIf(!isSameKind())(
  "lines are those of commit 12efc69, byte for byte (needs an AMD processor with AVX-512 and libtorch 2.13.0)",
  () => {
    beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits

    test.each(inputs)("$name", async ({ name, args }) => {
      const { code, stdout } = await run(["score", ...args, "--device", "cpu", "--dtype", "float32"]);
      const lines = readFileSync(path.join(bits, `${name}.jsonl`), "utf8");
      expect(stdout).toBe(lines);
      expect(code).toBe(lines.includes('"error"') ? 1 : 0);
    });
  },
);
