import { expect, it } from "vitest";
import { configKeys } from "../../src/training/config/config-keys.ts";
import { run } from "./command.ts";

it("--help shows the flags and every key of the configuration", async () => {
  const { code, stdout } = await run(["train", "--help"]);
  expect(code).toBe(0);
  for (const flag of ["--set <key=value>", "--resume", "--processes", "--device", "--check"]) {
    expect(stdout).toContain(flag);
  }
  const shown = stdout.split("\n").map((line) => /^ {2}([a-zN_0-9.]+)/.exec(line)?.[1]);
  for (const { path } of configKeys()) expect(shown).toContain(path);
});

it("refuses a configuration with unknown keys before it loads anything", async () => {
  const flags = ["--set", "sede=1", "--set", "optimizer.weight_decya=0.1", "--set", "model=../none"];
  const { code, stdout, stderr } = await run(["train", "recipes/first-steps.yaml", ...flags]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr.split("\n")).toEqual([
    "vl-reward: recipes/first-steps.yaml has 2 problems:",
    '  --set sede=1: unknown key "sede"; did you mean "seed"?',
    '  --set optimizer.weight_decya=0.1: optimizer: unknown key "weight_decya"; did you mean "weight_decay"?',
    "",
  ]);
});

it("refuses a flag that it does not know", async () => {
  const { code, stderr } = await run(["train", "recipes/first-steps.yaml", "--epochs", "3"]);
  expect(code).toBe(2);
  expect(stderr).toContain("unknown option '--epochs'");
});
