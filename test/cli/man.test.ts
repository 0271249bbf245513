/** @file The manual page, as man shows it, has what help says. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { run } from "./command.ts";

const has = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;
const squeezed = (text: string): string => text.replace(/\s+/g, " ");

it.skipIf(!has("groff"))("is roff without a warning (needs groff)", async () => {
  const { code, stdout } = await run(["man"]);
  expect(code).toBe(0);
  const { status, stderr } = spawnSync("groff", ["-man", "-ww", "-z"], { input: stdout, encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
});

it.skipIf(!has("man") || !has("groff"))(
  "shows commands, flags and examples as they are written (needs man)",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "vl-reward-man-"));
    const page = join(folder, "vl-reward.1");
    writeFileSync(page, (await run(["man"])).stdout);
    const env = { ...process.env, MANWIDTH: "500", LC_ALL: "C.UTF-8", MANPAGER: "cat", MAN_KEEP_FORMATTING: "" };
    const shown = spawnSync("man", ["-l", page], { encoding: "utf8", env }).stdout;
    rmSync(folder, { recursive: true });

    expect(shown).toMatch(/^VL-REWARD\(1\)/);
    for (const heading of ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "ENVIRONMENT", "EXIT STATUS"]) {
      expect(shown).toMatch(new RegExp(`^${heading}$`, "m"));
    }
    for (const command of [["score"], ["embed"], ["evaluate", "synthetic"], ["tokenizer", "train"], ["synth"]]) {
      const { stdout } = await run([...command, "--help"]);
      expect(shown).toContain(`vl-reward ${command.join(" ")} [flags]`);
      for (const [, flag = ""] of stdout.matchAll(/^ {2}(?:-\w, )?(--[\w-]+(?: <[^>]+>)?)/gm))
        expect(shown).toContain(flag);
      const examples = stdout.split("\nExamples:\n")[1]?.split("\n\n")[0] ?? "";
      expect(examples).toContain("vl-reward");
      for (const line of examples.split("\n")) expect(squeezed(shown)).toContain(squeezed(line).trim());
    }
  },
);
