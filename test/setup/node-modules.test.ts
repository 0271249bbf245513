/** @file When npm is called for node_modules, and when a folder that is already there is good as it is. */
import { rmSync } from "node:fs";
import { expect, it } from "vitest";
import { ensureNodeModules } from "../../setup/ensure.mjs";
import { listen, Sandbox } from "./sandbox.ts";

const packages = {
  "": { dependencies: { kept: "1.0.0" } },
  "node_modules/kept": { version: "1.0.0" },
  "node_modules/other-platform": { version: "3.0.0", optional: true },
};

/** A pretend clone with a package-lock.json and an npm that fills node_modules as npm ci does. */
function clone(): { sandbox: Sandbox; ensure: (env?: NodeJS.ProcessEnv) => Promise<void> } {
  const sandbox = new Sandbox();
  listen();
  sandbox.write("package-lock.json", JSON.stringify({ packages }));
  sandbox.program(
    "npm",
    `fs.rmSync("node_modules", { recursive: true, force: true });
     fs.mkdirSync("node_modules/kept", { recursive: true });`,
  );
  return { sandbox, ensure: (env = sandbox.env()) => ensureNodeModules({ root: sandbox.folder, env }) };
}

it("calls npm ci once, and again when package-lock.json changes or node_modules is deleted", async () => {
  const { sandbox, ensure } = clone();
  await ensure();
  await ensure();
  expect(sandbox.calls()).toEqual(["npm ci --include=dev --include=optional --ignore-scripts"]);
  sandbox.write("package-lock.json", JSON.stringify({ packages, changed: true }));
  await ensure();
  expect(sandbox.calls()).toHaveLength(2);
  rmSync(sandbox.path("node_modules"), { recursive: true });
  await ensure();
  await ensure();
  expect(sandbox.calls()).toHaveLength(3);
});

it("accepts what a person installed, without packages of other platforms", async () => {
  const { sandbox, ensure } = clone();
  const { "node_modules/kept": kept } = packages;
  sandbox.write("node_modules/.package-lock.json", JSON.stringify({ packages: { "node_modules/kept": kept } }));
  sandbox.write("node_modules/kept/package.json", "{}");
  await ensure();
  expect(sandbox.calls()).toEqual([]);
});

it.each([
  ["another version", { "node_modules/kept": { version: "1.0.1" } }],
  ["a missing package", {}],
  ["another version of an optional package", { ...packages, "node_modules/other-platform": { version: "2.0.0" } }],
])("does not accept %s", async (_, installed) => {
  const { sandbox, ensure } = clone();
  sandbox.write("node_modules/.package-lock.json", JSON.stringify({ packages: installed }));
  sandbox.write("node_modules/kept/package.json", "{}");
  await ensure();
  expect(sandbox.calls()).toHaveLength(1);
});

it("starts again after an npm that failed, with npm's words in the error", async () => {
  const { sandbox, ensure } = clone();
  sandbox.program("npm", 'console.error("npm error code ENOTFOUND"); process.exit(1)');
  await expect(ensure()).rejects.toThrow(/npm ci failed with exit code 1\.\nnpm error code ENOTFOUND/);
  await expect(ensure()).rejects.toThrow(/npm ci failed/);
  expect(sandbox.calls()).toHaveLength(2);
});

it("says how to get npm where there is none", async () => {
  const { sandbox, ensure } = clone();
  rmSync(sandbox.path("bin/npm"));
  sandbox.program("apt-get");
  const how = process.platform === "darwin" ? /brew install node/ : /apt-get install npm/;
  await expect(ensure()).rejects.toThrow(/npm, which installs the node modules, is not on the PATH/);
  await expect(ensure()).rejects.toThrow(how);
});

it("leaves a published package alone: whoever installed it installed its dependencies", async () => {
  const { sandbox, ensure } = clone();
  rmSync(sandbox.path("package-lock.json"));
  await ensure();
  expect(sandbox.calls()).toEqual([]);
});
