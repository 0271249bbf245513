/**
 * @file Where setup works, and where it keeps what it makes: in a clone beside the sources, for an installed package in a
 * per-user folder. An installed package may lie where nothing can be written, npm empties it at will, and several projects
 * have one each.
 */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { SetupError } from "./console.mjs";
import { isFolder } from "./files.mjs";

/**
 * Where setup works and with which settings.
 *
 * @typedef {object} Place
 * @property {string} root the repository or the installed package
 * @property {NodeJS.ProcessEnv} env
 */

/** @type {Place} */
export const here = { root: dirname(dirname(fileURLToPath(import.meta.url))), env: process.env };

/**
 * Whether this is a published package, which has dist/ and no sources, and not a clone.
 *
 * @param {Place} place
 */
export function isInstalled({ root }) {
  return !isFolder(join(root, "src"));
}

/**
 * The folder of the addon, its record and its lock. src/torch/native.ts looks in both places.
 *
 * @param {Place} place
 */
export function buildFolder(place) {
  const { root, env } = place;
  if (!isInstalled(place)) return join(root, "build");
  const name = createHash("sha256").update(root).digest("hex").slice(0, 16);
  return join(cacheFolder(env), "installed", name);
}

/**
 * The per-user folder for what setup downloads and makes.
 *
 * @param {NodeJS.ProcessEnv} env
 * @param {NodeJS.Platform} [platform]
 */
export function cacheFolder(env, platform = process.platform) {
  const home = env.HOME || homedir();
  if (env.VL_REWARD_CACHE) return resolve(env.VL_REWARD_CACHE);
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, "vl-reward");
  return platform === "darwin" ? join(home, "Library", "Caches", "vl-reward") : join(home, ".cache", "vl-reward");
}

/**
 * Makes a folder in which setup writes.
 *
 * @param {string} folder
 */
export function makeFolder(folder) {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new SetupError(
      `the folder ${folder} cannot be made (${error instanceof Error ? error.message : error}). ` +
        "Set VL_REWARD_CACHE to a folder that can be written.",
    );
  }
}
