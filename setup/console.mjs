/**
 * @file What setup says to a person. Everything goes to standard error: standard output belongs to results.
 */
import { statSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Setup cannot go on, and the message says what was found and what to do. Shown without a stack. */
export class SetupError extends Error {
  /** @override */
  name = "SetupError";
}

/** @param {string} line */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/**
 * Runs one step of setup and says what it does and how long it took.
 *
 * @template T
 * @param {string} title as in "[2/5] libtorch"
 * @param {string} doing what is about to happen
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function step(title, doing, work) {
  const start = performance.now();
  say(`${title}: ${doing}`);
  const result = await work();
  say(`${title}: ready (${seconds(performance.now() - start)})`);
  return result;
}

/** @param {number} milliseconds */
export function seconds(milliseconds) {
  return milliseconds < 60_000
    ? `${(milliseconds / 1000).toFixed(1)} s`
    : `${Math.floor(milliseconds / 60_000)} min ${Math.round((milliseconds % 60_000) / 1000)} s`;
}

/**
 * Prints an error the way a person wants it: our own as a sentence, anything unexpected with its stack.
 *
 * @param {unknown} error
 */
export function sayError(error) {
  if (error instanceof SetupError) say(`\nvl-reward setup stopped: ${error.message}`);
  else say(error instanceof Error ? (error.stack ?? error.message) : String(error));
}

/**
 * The command that installs something on this machine, by the package manager that is there.
 *
 * @param {{ debian: string, fedora: string, arch: string, suse: string, mac: string }} names package names; `mac` is the whole command
 * @param {NodeJS.ProcessEnv} env
 */
export function howToInstall(names, env) {
  if (process.platform === "darwin") return names.mac;
  const managers = /** @type {const} */ ([
    ["apt-get", `apt-get install ${names.debian}`],
    ["dnf", `dnf install ${names.fedora}`],
    ["pacman", `pacman -S ${names.arch}`],
    ["zypper", `zypper install ${names.suse}`],
  ]);
  const here = managers.find(([manager]) => findProgram(manager, env) !== undefined);
  return here?.[1] ?? managers.map(([, command]) => command).join(", or ");
}

/**
 * The full path of a program as the shell would find it, without running anything.
 *
 * @param {string} name a name to look up on the PATH, or a path
 * @param {NodeJS.ProcessEnv} env
 * @returns {string | undefined}
 */
export function findProgram(name, env) {
  const folders = name.includes("/") ? [""] : (env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** @param {string} path */
function isExecutable(path) {
  const file = statSync(path, { throwIfNoEntry: false });
  return file?.isFile() && (file.mode & 0o111) !== 0;
}
