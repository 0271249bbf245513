/**
 * @file The library in programs of its own: the documentation's example, and a thread that crashes.
 */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";

const root = path.join(import.meta.dirname, "../..");

function run(program: string, ...flags: readonly string[]) {
  const args = [...flags, "--input-type=module", "--eval", program];
  return spawnSync(process.execPath, args, { cwd: root, encoding: "utf8", timeout: 50_000 });
}

test("the example of RewardEngine runs, and the process ends once the engine is closed", () => {
  const source = readFileSync(path.join(root, "src/reward/engine.ts"), "utf8");
  const example = /@example.*?```ts\n(.*?)\n \* ```/s.exec(source)?.[1]?.replace(/^ \* ?/gm, "");
  if (example === undefined) throw new Error("engine.ts has no example");
  const module = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 };
  const program = ts.transpileModule(example, { compilerOptions: module }).outputText;
  const { status, stdout, stderr } = run(program);
  expect(stderr).toBe("");
  expect(stdout).toMatch(/^\[ -?\d+\.\d+, -?\d+\.\d+ \]\n$/);
  expect(status).toBe(0);
});

test("a thread that crashes is started anew: what it died of gets an error, the next group its score", () => {
  const program = `
    import { RewardEngine } from "vl-reward";
    const engine = await RewardEngine.open({ folder: "models/tiny", dtype: "float32", device: "cpu" });
    const group = (content) => ({
      prefix: [{ role: "user", content }],
      branches: [{ role: "assistant", content: "Yes." }],
      baseFolder: ".",
    });
    const say = (result) => console.log(result.error?.code ?? result.scores[0], result.error?.message ?? engine.health);
    say(await engine.scoreGroup(group("Really?")));
    const [bad, good] = [engine.scoreGroup(group("a b ".repeat(2_000_000))), engine.scoreGroup(group("Really?"))];
    say(await bad);
    say(await good);
    await engine.close();
  `;
  // So little that it runs out in JavaScript: within one of V8's own functions it would abort the process.
  const { status, stdout } = run(program, "--max-old-space-size=32");
  const [before, bad, after] = stdout.trim().split("\n");
  expect(before).toMatch(/^-?\d+\.\d+ ready$/);
  expect(bad).toMatch(/^internal_error A thread of the engine has ended early: .*out of memory$/);
  expect(after).toBe(before);
  expect(status).toBe(0);
});
