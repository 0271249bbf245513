/**
 * @file What every entry asks for first: that all is in place. Where it is, this takes a few milliseconds and runs no
 * program; where something is missing or out of date, that part is set up, one setup at a time.
 */
import { join } from "node:path";
import { addonIsReady, buildAddon } from "./addon.mjs";
import { removePartials } from "./files.mjs";
import { withLock } from "./lock.mjs";
import { installNodeModules, nodeModulesAreReady } from "./node-modules.mjs";
import { buildFolder, isInstalled, makeFolder } from "./place.mjs";
import { compileTypeScript, distIsReady } from "./typescript.mjs";
import { buildWeb, webIsReady } from "./web.mjs";

/** @typedef {import("./place.mjs").Place} Place */

export { here } from "./place.mjs";

/** @param {Place} place */
export async function ensure(place) {
  await ensureNodeModules(place);
  await ensureAddon(place);
  await ensureDist(place);
  await ensureWeb(place);
}

/**
 * What can be run without libtorch: help, completion.
 *
 * @param {Place} place
 */
export async function ensureProgram(place) {
  await ensureNodeModules(place);
  await ensureDist(place);
  await ensureWeb(place);
}

/** @param {Place} place */
export const ensureNodeModules = (place) => once(place, nodeModulesAreReady, installNodeModules);

/** @param {Place} place */
export const ensureAddon = (place) => once(place, addonIsReady, buildAddon);

/** @param {Place} place */
export const ensureDist = (place) => once(place, distIsReady, compileTypeScript);

/** @param {Place} place */
export const ensureWeb = (place) => once(place, webIsReady, buildWeb);

/**
 * Does the work if it is needed and nobody else has done it by the time it is our turn.
 *
 * @param {Place} place
 * @param {(place: Place) => boolean} isReady
 * @param {(place: Place) => Promise<void>} work
 */
async function once(place, isReady, work) {
  if (isReady(place)) return;
  const build = buildFolder(place);
  if (isInstalled(place)) makeFolder(build);
  await withLock(join(build, ".lock"), async () => {
    removePartials(place.root);
    removePartials(build);
    removePartials(join(build, "objects"));
    if (!isReady(place)) await work(place);
  });
}
