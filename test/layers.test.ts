/** @file The rules of the layers forbid what they should: each is broken once, in a small tree beside a copy of the rules. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const root = path.join(import.meta.dirname, "..");
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-layers-"));
  for (const name of [".dependency-cruiser.mjs", "tsconfig.json", "package.json"]) {
    copyFileSync(path.join(root, name), path.join(folder, name));
  }
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Files by their paths, each importing the paths that it is given -> what the rules say of them */
function cruised(files: Readonly<Record<string, readonly string[]>>): { status: number | null; output: string } {
  for (const [name, imports] of Object.entries(files)) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    const lines = imports.map((target, index) => {
      const relative = path.relative(path.dirname(name), target);
      return `import { value as v${index} } from "${relative.startsWith(".") ? relative : `./${relative}`}";`;
    });
    const used = imports.map((_, index) => `v${index}`).join(", ");
    writeFileSync(file, `${lines.join("\n")}\nexport const value: unknown[] = [${used}];\n`);
  }
  const cruiser = path.join(root, "node_modules/dependency-cruiser/bin/dependency-cruise.mjs");
  const { status, stdout, stderr } = spawnSync(process.execPath, [cruiser, "src"], { cwd: folder, encoding: "utf8" });
  return { status, output: `${stdout}${stderr}` };
}

const family = { "src/models/one/model.ts": [], "src/models/families.ts": ["src/models/one/model.ts"] };

test("what points down, and the registry of families, are allowed", () => {
  const files = {
    ...family,
    "src/models/heads/reward.ts": [],
    "src/models/one/family.ts": ["src/models/one/model.ts", "src/models/heads/reward.ts"],
    "src/engine/pass.ts": ["src/models/families.ts", "src/models/heads/reward.ts"],
    "src/engine/pass.test.ts": ["src/models/one/model.ts"],
  };
  expect(cruised(files)).toMatchObject({ status: 0 });
});

test.each([
  ["an import that points up", { "src/media/a.ts": ["src/engine/b.ts"], "src/engine/b.ts": [] }, "imports-point-down"],
  ["rooms of one floor", { "src/media/a.ts": ["src/hub/b.ts"], "src/hub/b.ts": [] }, "siblings-are-independent"],
  ["a backbone from another room", { ...family, "src/engine/a.ts": ["src/models/one/model.ts"] }, "one-door-to-a-back"],
  [
    "a backbone from beside it",
    { ...family, "src/models/a.ts": ["src/models/one/model.ts"] },
    "one-door-to-a-backbone",
  ],
  ["a family from another", { ...family, "src/models/two/a.ts": ["src/models/one/model.ts"] }, "between-families"],
  ["the addon", { "src/torch/native.ts": [], "src/nn/a.ts": ["src/torch/native.ts"] }, "one-door-to-libtorch"],
  ["a folder in no layer", { "src/utils/a.ts": [] }, "src/utils stands in no layer"],
] as const)("%s is refused", (_, files, rule) => {
  const { status, output } = cruised(files);
  expect(output).toContain(rule);
  expect(status).not.toBe(0);
});
