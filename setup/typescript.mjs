/**
 * @file Step 4: src/ compiled into dist/. An installed package has dist/ and no sources, and nothing to do here.
 */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { SetupError, step } from "./console.mjs";
import { filesUnder, hash, hashFiles, partialName, readText, replaceFolder } from "./files.mjs";
import { isInstalled } from "./place.mjs";
import { capture } from "./processes.mjs";

/** @typedef {import("./place.mjs").Place} Place */

const title = "[4/5] TypeScript";
const configs = ["tsconfig.json", "tsconfig.build.json"];

/**
 * Whether dist/ is what the sources say.
 *
 * @param {Place} place
 */
export function distIsReady(place) {
  const { root } = place;
  if (isInstalled(place)) return existsSync(join(root, "dist", "cli", "main.js"));
  return readText(join(root, "dist", ".stamp")) === fingerprint(root);
}

/** @param {Place} place */
export async function compileTypeScript(place) {
  const { root, env } = place;
  if (isInstalled(place)) {
    throw new SetupError(
      `${root} has neither dist/ nor src/: it was packed before it was built. Pack it with \`npm pack\`.`,
    );
  }
  await step(title, "compiling src into dist", async () => {
    const made = fingerprint(root); // of what is read now: a file saved meanwhile shows as a difference next time
    const dist = join(root, "dist");
    const partial = partialName(dist); // beside it: its source maps name the sources by where they stand
    rmSync(partial, { recursive: true, force: true });
    const compiler = join(
      dirname(createRequire(join(root, "package.json")).resolve("typescript/package.json")),
      "bin/tsc",
    );
    const args = [compiler, "-p", "tsconfig.build.json", "--outDir", partial, "--pretty", "false"];
    const { code, stdout, stderr } = await capture(process.execPath, args, { cwd: root, env });
    if (code !== 0) throw new SetupError(`TypeScript found errors.\n${`${stdout}${stderr}`.trim()}`);
    writeFileSync(join(partial, ".stamp"), made);
    replaceFolder(partial, dist);
  });
}

/** @param {string} root */
function fingerprint(root) {
  const src = join(root, "src");
  const sources = filesUnder(src).filter((name) => /\.(ts|json)$/.test(name) && !name.endsWith(".test.ts"));
  const lock = readText(join(root, "package-lock.json")) ?? ""; // another compiler or other types of a dependency
  return hash([hashFiles(src, sources), hashFiles(root, configs), lock]);
}
