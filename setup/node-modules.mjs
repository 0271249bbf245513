/**
 * @file Step 1: the packages of package-lock.json in node_modules.
 *
 * A stamp inside node_modules says for which package-lock.json it was filled; deleting the folder deletes the stamp. A
 * node_modules that a person filled with npm is accepted as it is when it has what the lock file asks for.
 */
import { basename, join } from "node:path";
import { findProgram, howToInstall, SetupError, step } from "./console.mjs";
import { hashFiles, isFolder, readJson, readText, writeWhole } from "./files.mjs";
import { run } from "./processes.mjs";

/** @typedef {import("./place.mjs").Place} Place */
/** @typedef {{ version?: string, optional?: boolean, link?: boolean }} LockedPackage */

const title = "[1/5] node modules";

/**
 * Whether node_modules is as package-lock.json says. In a published package there is no lock file: whoever installed
 * it installed its dependencies.
 *
 * @param {Place} place
 */
export function nodeModulesAreReady({ root }) {
  if (readText(join(root, "package-lock.json")) === undefined) return true;
  if (readText(stampFile(root)) === fingerprint(root)) return true;
  if (!lockIsSatisfied(root)) return false;
  writeWhole(stampFile(root), fingerprint(root));
  return true;
}

/** @param {Place} place */
export async function installNodeModules({ root, env }) {
  await step(title, "npm ci", async () => {
    const [program, ...args] = npm(env);
    // Development packages are needed (TypeScript compiles the sources), whatever NODE_ENV says.
    // Nothing here needs the install scripts of packages: that of node-av would download a program that is not used.
    await run("npm ci", program, [...args, "ci", "--include=dev", "--include=optional", "--ignore-scripts"], {
      cwd: root,
      env,
    });
    writeWhole(stampFile(root), fingerprint(root));
  });
}

/** @param {string} root */
function stampFile(root) {
  return join(root, "node_modules", ".vl-reward-setup");
}

/** @param {string} root */
function fingerprint(root) {
  return hashFiles(root, ["package-lock.json"]);
}

/**
 * npm writes node_modules/.package-lock.json last and removes it first, so its presence means a whole install.
 * Optional packages may be missing: most belong to other platforms.
 *
 * @param {string} root
 */
function lockIsSatisfied(root) {
  const wanted = packages(join(root, "package-lock.json"));
  const installed = packages(join(root, "node_modules", ".package-lock.json"));
  if (wanted === undefined || installed === undefined) return false;
  return Object.entries(wanted).every(
    ([path, locked]) =>
      path === "" ||
      locked.link === true ||
      (locked.optional === true && installed[path] === undefined) ||
      (installed[path]?.version === locked.version && isFolder(join(root, path))),
  );
}

/** @param {string} file @returns {Record<string, LockedPackage> | undefined} */
function packages(file) {
  const lock = /** @type {{ packages?: Record<string, LockedPackage> } | undefined} */ (readJson(file));
  return lock?.packages;
}

/**
 * The npm that started us, else the one on the PATH.
 *
 * @param {NodeJS.ProcessEnv} env
 * @returns {[string, ...string[]]}
 */
function npm(env) {
  const starter = env.npm_execpath;
  if (starter !== undefined && basename(starter) === "npm-cli.js") return [process.execPath, starter];
  const found = findProgram("npm", env);
  if (found !== undefined) return [found];
  const names = { debian: "npm", fedora: "nodejs-npm", arch: "npm", suse: "npm-default", mac: "brew install node" };
  throw new SetupError(`npm, which installs the node modules, is not on the PATH. Get it: ${howToInstall(names, env)}`);
}
