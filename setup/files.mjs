/**
 * @file Fingerprints of files, and files that are either whole or not there.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/**
 * A short hash of texts; the order and the borders between them count.
 *
 * @param {readonly (string | Buffer)[]} texts
 */
export function hash(texts) {
  const sum = createHash("sha256");
  for (const text of texts) sum.update(`${text.length}:`).update(text);
  return sum.digest("hex").slice(0, 32);
}

/**
 * A hash of files by name and content.
 *
 * @param {string} folder
 * @param {readonly string[]} names relative to the folder
 */
export function hashFiles(folder, names) {
  return hash([...names].sort().flatMap((name) => [name, readFileSync(join(folder, name))]));
}

/**
 * The files of a folder and of the folders in it, relative to it; none when it does not exist.
 *
 * @param {string} folder
 * @returns {string[]}
 */
export function filesUnder(folder) {
  if (!isFolder(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => !isFolder(join(folder, name)));
}

/** @param {string} path */
export function isFolder(path) {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/**
 * The text of a file, or undefined when it cannot be read.
 *
 * @param {string} path
 */
export function readText(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/**
 * A JSON file that setup itself wrote; undefined when it is absent or damaged, which means the same here: do it again.
 *
 * @param {string} path
 * @returns {unknown}
 */
export function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * A name to build something under until it is whole.
 *
 * @param {string} path the final name
 */
export function partialName(path) {
  return `${path}.partial-${process.pid}`;
}

/**
 * Writes a file so that readers see the old text or the new, never a part.
 *
 * @param {string} path
 * @param {string} text
 */
export function writeWhole(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(partialName(path), text);
  renameSync(partialName(path), path);
}

/**
 * Puts a finished folder where an older one may be.
 *
 * @param {string} partial
 * @param {string} folder
 */
export function replaceFolder(partial, folder) {
  const old = `${partial}.old`;
  if (isFolder(folder)) renameSync(folder, old);
  renameSync(partial, folder);
  rmSync(old, { recursive: true, force: true });
}

/**
 * Removes what interrupted setups left in a folder. Only for a process that holds the folder's lock.
 *
 * @param {string} folder
 */
export function removePartials(folder) {
  if (!isFolder(folder)) return;
  for (const name of readdirSync(folder)) {
    if (/\.partial-\d+(\.old)?$/.test(basename(name))) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
