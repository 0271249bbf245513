/**
 * @file Step 2: where libtorch is. It is part of the `torch` wheel; Python itself is not needed to use it.
 *
 * Looked for in this order: the folder in VL_REWARD_TORCH; the `torch` of the `python3` on the PATH; our own copy in
 * a per-user cache folder (libtorch-cache.mjs), installed by pip when it is not there yet.
 */
import { existsSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import { findProgram, SetupError, say } from "./console.mjs";
import { isFolder, readText } from "./files.mjs";
import { capture } from "./processes.mjs";

/** @typedef {import("./place.mjs").Place} Place */

/**
 * @typedef {object} Torch
 * @property {string} folder absolute; holds lib/ and include/
 * @property {string} version as in 2.13.0+cu130
 * @property {"VL_REWARD_TORCH" | "python3" | "cache"} source
 * @property {boolean} cuda whether it was built for CUDA and CUDA's libraries were installed with it
 */

/** What is loaded and tested: the addon uses nothing that differs between these. */
export const versions = { oldest: "2.11", newest: "2.13" };

/** @param {string} version */
export function versionFits(version) {
  const [major, minor] = version.split(".").map(Number);
  return major === 2 && minor !== undefined && minor >= 11 && minor <= 13;
}

/**
 * The libtorch in a folder: `.../site-packages/torch`, its parent, or libtorch's own archive unpacked. Undefined when
 * there is none.
 *
 * @param {string} folder
 * @returns {{ folder: string, version: string, cudaVersion: string | undefined } | undefined}
 */
export function libtorchIn(folder) {
  const found = [folder, join(folder, "torch")].find((place) => isFolder(join(place, "lib")) && versionOf(place));
  const version = found === undefined ? undefined : versionOf(found);
  if (found === undefined || version === undefined || !isFolder(join(found, "include", "ATen"))) return undefined;
  const cudaVersion = readText(join(found, "version.py"))?.match(/^cuda\b.*= '([\d.]+)'/m)?.[1];
  return { folder: realpathSync(found), version, cudaVersion };
}

/**
 * The version that a torch folder states: version.py in a wheel, build-version in an archive.
 *
 * @param {string} folder
 * @returns {string | undefined}
 */
export function versionOf(folder) {
  const stated = readText(join(folder, "version.py"))?.match(
    /^__version__\s*(?::\s*str\s*)?=\s*['"]([^'"]+)['"]/m,
  )?.[1];
  return stated ?? readText(join(folder, "build-version"))?.trim();
}

/**
 * The folder that the user names; undefined when none is named.
 *
 * @param {Place} place
 * @returns {Torch | undefined}
 */
export function torchNamedByUser({ env }) {
  const named = env.VL_REWARD_TORCH;
  if (named === undefined || named === "") return undefined;
  const found = libtorchIn(resolve(named));
  if (found === undefined) {
    throw new SetupError(
      `VL_REWARD_TORCH=${named} holds no libtorch: neither it nor a folder "torch" in it has lib/, include/ATen and ` +
        "version.py. Set it to the torch folder of a Python installation (.../site-packages/torch), or unset it.",
    );
  }
  if (!versionFits(found.version)) {
    throw new SetupError(
      `VL_REWARD_TORCH=${named} is torch ${found.version}; ${versions.oldest} to ${versions.newest} are supported. ` +
        "Set it to another one, or unset it and setup finds or installs one.",
    );
  }
  return { folder: found.folder, version: found.version, source: "VL_REWARD_TORCH", cuda: hasCuda(found) };
}

/** Says where torch is without importing it, which would take seconds. The working folder is not searched. */
const whereIsTorch = `
import sys, importlib.util
sys.path = [place for place in sys.path if place]
torch = importlib.util.find_spec("torch")
print(torch.submodule_search_locations[0] if torch and torch.submodule_search_locations else "")
`;

/**
 * The torch of the python3 on the PATH, when there is one and its version fits.
 *
 * @param {Place} place
 * @returns {Promise<Torch | undefined>}
 */
export async function torchOfPython({ env }) {
  const python = findProgram("python3", env);
  if (python === undefined) return undefined;
  const { code, stdout } = await capture(python, ["-c", whereIsTorch], { env });
  const folder = stdout.trim();
  if (code !== 0 || folder === "") return undefined;
  const version = versionOf(folder);
  if (version === undefined || !versionFits(version)) {
    say(
      `  ${folder} is torch ${version ?? "of unknown version"}, not ${versions.oldest} to ${versions.newest}: not used`,
    );
    return undefined;
  }
  const found = libtorchIn(folder);
  if (found === undefined) {
    say(`  ${folder} has no libtorch with headers: not used`);
    return undefined;
  }
  return { folder: found.folder, version: found.version, source: "python3", cuda: hasCuda(found) };
}

/** @param {{ folder: string, cudaVersion: string | undefined }} found */
function hasCuda({ folder, cudaVersion }) {
  return cudaVersion !== undefined && existsSync(join(folder, "lib", "libtorch_cuda.so"));
}
