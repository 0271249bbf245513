/**
 * @file Step 5: the playground, web/ built into web/dist. An installed package has the pages and nothing to do here.
 */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { SetupError, step } from "./console.mjs";
import { filesUnder, hash, hashFiles, readText } from "./files.mjs";
import { isInstalled } from "./place.mjs";
import { capture } from "./processes.mjs";

/** @typedef {import("./place.mjs").Place} Place */

/**
 * Whether web/dist is what the sources say.
 *
 * @param {Place} place
 */
export function webIsReady(place) {
  const { root } = place;
  if (isInstalled(place) || !existsSync(join(root, "web", "vite.config.ts"))) return true;
  return readText(join(root, "web", "dist", ".stamp")) === fingerprint(root);
}

/** @param {Place} place */
export async function buildWeb({ root, env }) {
  await step("[5/5] playground", "building web into web/dist", async () => {
    const made = fingerprint(root);
    const dist = join(root, "web", "dist");
    rmSync(join(dist, ".stamp"), { force: true });
    const vite = join(dirname(createRequire(join(root, "package.json")).resolve("vite/package.json")), "bin/vite.js");
    const args = [vite, "build", "--config", join("web", "vite.config.ts"), "--logLevel", "warn"];
    const { code, stdout, stderr } = await capture(process.execPath, args, { cwd: root, env });
    if (code !== 0) throw new SetupError(`The playground could not be built.\n${`${stdout}${stderr}`.trim()}`);
    writeFileSync(join(dist, ".stamp"), made);
  });
}

/** @param {string} root */
function fingerprint(root) {
  const web = join(root, "web");
  const sources = filesUnder(web).filter((name) => !/^dist[/\\]/.test(name) && !name.endsWith(".test.ts"));
  const lock = readText(join(root, "package-lock.json")) ?? "";
  return hash([hashFiles(web, sources), hashFiles(root, ["examples/examples.jsonl"]), lock]);
}
