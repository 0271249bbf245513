/**
 * @file `npm run prebuild`: the addon for this platform and this libtorch, put where packages take it from. npm runs this
 * before `npm run build` too, which would make the same addon.
 */
import { relative } from "node:path";
import { requireNode } from "./node-version.mjs";

requireNode();
const { builtAddon } = await import("./addon.mjs");
const { say, sayError } = await import("./console.mjs");
const { ensureAddon, ensureNodeModules, here } = await import("./ensure.mjs");
const { keepForPackage } = await import("./prebuilt.mjs");

try {
  await ensureNodeModules(here);
  await ensureAddon(here);
  const { addon, name } = builtAddon(here);
  say(`prebuilt addon: ${relative(here.root, keepForPackage(addon, here.root, name))}`);
} catch (error) {
  sayError(error);
  process.exit(2);
}
