/**
 * @file What src/engine/machine/memory.ts expects a pass to take, against the peak of a real one. Each pass has a process
 * of its own (one-pass.mjs): in a shared one it would use what the passes before it have left, and how much that is differs
 * by machine.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { root, run } from "../cli/command.ts";

const onePass = fileURLToPath(new URL("one-pass.mjs", import.meta.url));

/** Linux lets a process set its peak back. */
const canResetPeak = ((): boolean => {
  try {
    accessSync("/proc/self/clear_refs", constants.W_OK);
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!canResetPeak)(
  "the estimate is within a quarter of the peak of a real pass (needs Linux, which tells it)",
  () => {
    beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits

    it.each([
      ["pictures", 6000, "bfloat16"],
      ["text", 5000, "bfloat16"],
      ["pictures", 6000, "float32"],
      ["text", 7000, "float32"],
    ])("%s: %i in %s", (kind, amount, dtype) => {
      const child = spawnSync(process.execPath, [onePass, kind, `${amount}`, dtype], { cwd: root, encoding: "utf8" });
      expect(child.stderr).toBe("");
      const { estimate, peak } = JSON.parse(child.stdout);
      expect(estimate / peak, `estimate ${estimate}, peak ${peak}`).toBeGreaterThan(0.75);
      expect(estimate / peak, `estimate ${estimate}, peak ${peak}`).toBeLessThan(1.25);
    });
  },
);
