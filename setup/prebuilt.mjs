/**
 * @file Addons that are compiled already. An addon finds libtorch by the link beside it (addon.mjs), so one file serves
 * everywhere: its name says for which platform, for which version of libtorch and of which sources it was made. One that
 * does not fit by name is left alone; one that fits and does not load, because the C library is older, is not used.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { filesUnder, isFolder, partialName } from "./files.mjs";
import { cacheFolder } from "./place.mjs";

/** @typedef {import("./place.mjs").Place} Place */

/**
 * Whether there is an addon of these sources for this platform, with whichever libtorch.
 *
 * @param {Place} place
 * @param {string} sources a hash of what addons are made of
 */
export function hasPrebuilt(place, sources) {
  const names = folders(place).flatMap((folder) => filesUnder(folder));
  return names.some((name) => name.startsWith(`${platform}-torch`) && name.endsWith(`-${sources}.node`));
}

/**
 * The addon for this libtorch: one that came with the package, or that was compiled for another project.
 *
 * @param {Place} place
 * @param {string} version libtorch's, as in 2.13.0+cu130
 * @param {string} sources
 * @returns {string | undefined} its file
 */
export function prebuiltFor(place, version, sources) {
  return folders(place)
    .map((folder) => join(folder, addonName(version, sources)))
    .find((file) => existsSync(file));
}

/**
 * The name says all that has to fit. What follows "+" in libtorch's version says for which devices it was built, which
 * the addon does not see: it is linked to the processor's half.
 *
 * @param {string} version
 * @param {string} sources
 */
export function addonName(version, sources) {
  return `${platform}-torch${version.replace(/\+.*/, "")}-${sources}.node`;
}

/**
 * Keeps an addon for the next project with the same sources and libtorch.
 *
 * @param {string} addon
 * @param {Place} place
 * @param {string} name
 */
export function keepForOthers(addon, place, name) {
  copyWhole(addon, join(cacheFolder(place.env), "addons", name));
}

/**
 * Puts an addon into the folder that is published, and removes those that it replaces.
 *
 * @param {string} addon
 * @param {string} root
 * @param {string} name
 * @returns {string} its file
 */
export function keepForPackage(addon, root, name) {
  const file = join(publishedFolder(root), name);
  copyWhole(addon, file);
  const kind = name.slice(0, name.lastIndexOf("-") + 1);
  for (const other of readdirSync(dirname(file))) {
    if (other.startsWith(kind) && other !== name) rmSync(join(dirname(file), other));
  }
  return file;
}

/**
 * Removes from the folder that is published what was made of other sources.
 *
 * @param {string} root
 * @param {string} sources
 */
export function removeOutdated(root, sources) {
  for (const name of filesUnder(publishedFolder(root))) {
    if (!name.endsWith(`-${sources}.node`)) rmSync(join(publishedFolder(root), name));
  }
}

const platform = `${process.platform}-${process.arch}`;

/** @param {string} root */
function publishedFolder(root) {
  return join(root, "prebuilt");
}

/** @param {Place} place */
function folders({ root, env }) {
  return [publishedFolder(root), join(cacheFolder(env), "addons")].filter(isFolder);
}

/**
 * @param {string} from
 * @param {string} to
 */
function copyWhole(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  const partial = partialName(join(dirname(to), `.${basename(to)}`));
  copyFileSync(from, partial);
  renameSync(partial, to);
}
