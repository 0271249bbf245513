/** @file dist/ follows src/, and is never half of it. */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { expect, it } from "vitest";
import { ensureDist } from "../../setup/ensure.mjs";
import { listen, Sandbox } from "./sandbox.ts";

function clone(): { sandbox: Sandbox; ensure: () => Promise<void> } {
  const sandbox = new Sandbox();
  listen();
  sandbox.linkNodeModules(".");
  sandbox.write("tsconfig.json", '{ "compilerOptions": { "module": "NodeNext", "strict": true, "types": [] } }');
  sandbox.write(
    "tsconfig.build.json",
    '{ "extends": "./tsconfig.json", "compilerOptions": { "rootDir": "src", "outDir": "dist", "sourceMap": true }, "include": ["src"], "exclude": ["src/**/*.test.ts"] }',
  );
  sandbox.write("src/deep/one.ts", "export const one: number = 1;\n");
  sandbox.write("src/two.ts", "export const two: number = 2;\n");
  return { sandbox, ensure: () => ensureDist({ root: sandbox.folder, env: sandbox.env() }) };
}

it("compiles once, not for a changed test, and again for a changed source", async () => {
  const { sandbox, ensure } = clone();
  await ensure();
  const made = statSync(sandbox.path("dist")).ino;
  sandbox.write("src/two.test.ts", "export {};\n");
  await ensure();
  expect(statSync(sandbox.path("dist")).ino).toBe(made);
  sandbox.write("src/two.ts", "export const two: number = 22;\n");
  rmSync(sandbox.path("src/deep"), { recursive: true });
  await ensure();
  expect(sandbox.read("dist/two.js")).toContain("22");
  expect(existsSync(sandbox.path("dist/deep"))).toBe(false);
  expect(existsSync(sandbox.path("dist/two.test.js"))).toBe(false);
});

it("has source maps that lead to the sources, and leaves nothing beside it", async () => {
  const { sandbox, ensure } = clone();
  await ensure();
  for (const [built, source] of [
    ["dist/two.js.map", "src/two.ts"],
    ["dist/deep/one.js.map", "src/deep/one.ts"],
  ] as const) {
    const { sources }: { sources: string[] } = JSON.parse(sandbox.read(built));
    expect(sources.map((path) => resolve(dirname(sandbox.path(built)), path))).toEqual([sandbox.path(source)]);
  }
  expect(readdirSync(sandbox.folder).filter((name) => name.startsWith("dist"))).toEqual(["dist"]);
});

it("shows errors and keeps the dist that was there", async () => {
  const { sandbox, ensure } = clone();
  await ensure();
  sandbox.write("src/two.ts", 'export const two: number = "2";\n');
  await expect(ensure()).rejects.toThrow(/TypeScript found errors\.\nsrc\/two\.ts\(1,14\): error TS2322/);
  expect(sandbox.read("dist/two.js")).toContain("two = 2");
  await expect(ensure()).rejects.toThrow(/TS2322/);
});

it("leaves an installed package alone, which has dist and no sources, and says when it has neither", async () => {
  const { sandbox, ensure } = clone();
  rmSync(sandbox.path("src"), { recursive: true });
  const program = sandbox.write("dist/cli/main.js", "");
  await ensure();
  expect(readdirSync(sandbox.path("dist"))).toEqual(["cli"]);
  rmSync(program);
  await expect(ensure()).rejects.toThrow(/has neither dist\/ nor src\/.*npm pack/);
});
