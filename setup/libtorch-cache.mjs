/**
 * @file Our own libtorch: the pinned torch wheel, installed by pip into a per-user folder that all clones share.
 *
 * pip's settings are the user's (index, proxy, certificates): an index that offers a `+cpu` build yields that one. A
 * wheel for CUDA needs CUDA's libraries beside it; where no NVIDIA driver is, two of them are enough to load the
 * processor's half (libtorch_cpu links to them), which saves about 2.5 GB.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findProgram, howToInstall, SetupError, say } from "./console.mjs";
import { isFolder, partialName, readText, removePartials } from "./files.mjs";
import { libtorchIn } from "./libtorch.mjs";
import { withLock } from "./lock.mjs";
import { cacheFolder, makeFolder } from "./place.mjs";
import { capture, run } from "./processes.mjs";

/** @typedef {import("./place.mjs").Place} Place */
/** @typedef {import("./libtorch.mjs").Torch} Torch */

export const pinned = "2.13.0";

/**
 * Whether this machine has an NVIDIA driver; under WSL it is a library of the host. VL_REWARD_CUDA=1 says that there will be
 * one: an image for containers is built where there is none.
 *
 * @param {NodeJS.ProcessEnv} env
 */
export function hasNvidiaDriver(env) {
  if (env.VL_REWARD_CUDA === "1") return true;
  return ["/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvidia0", "/usr/lib/wsl/lib/libcuda.so.1"].some((path) =>
    existsSync(path),
  );
}

/**
 * The torch in the cache, installed when it is not there yet.
 *
 * @param {Place} place
 * @param {boolean} [driver] whether to expect an NVIDIA device
 * @returns {Promise<Torch>}
 */
export async function torchOfCache({ env }, driver = hasNvidiaDriver(env)) {
  const cache = cacheFolder(env);
  const there = cachedTorch(cache, driver);
  if (there !== undefined) return there;
  makeFolder(cache);
  return withLock(join(cache, ".lock"), async () => {
    removePartials(cache);
    return cachedTorch(cache, driver) ?? (await install(cache, driver, env));
  });
}

/**
 * What a wheel turned out to be, by its version: `cpu` (also macOS), `cu130` with CUDA's libraries, or `cu130-lean`
 * with the two that the processor's half needs. Lean ones serve only where there is no driver.
 *
 * @param {string} cache
 * @param {boolean} driver
 * @returns {Torch | undefined}
 */
function cachedTorch(cache, driver) {
  const prefix = `torch-${pinned}-${process.platform}-${process.arch}-`;
  const names = isFolder(cache) ? readdirSync(cache) : [];
  const usable = names
    .filter((name) => name.startsWith(prefix) && /^(cpu|(cu|rocm)[\d.]+(-lean)?)$/.test(name.slice(prefix.length)))
    .filter((name) => !(driver && name.endsWith("-lean")))
    .sort((a, b) => Number(b.includes("-cu")) - Number(a.includes("-cu")));
  for (const name of usable) {
    const found = libtorchIn(join(cache, name));
    const cuda = name.includes("-cu") && !name.endsWith("-lean") && found?.cudaVersion !== undefined;
    if (found !== undefined) return { folder: found.folder, version: found.version, source: "cache", cuda };
  }
  return undefined;
}

/**
 * @param {string} cache
 * @param {boolean} driver
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<Torch>}
 */
async function install(cache, driver, env) {
  const python = await pythonWithPip(env);
  const partial = partialName(join(cache, `torch-${pinned}`));
  const target = join(partial, "site");
  // pip unpacks in TMPDIR before it moves: on the same disk, and gone with the rest when interrupted.
  const temporary = join(partial, "tmp");
  mkdirSync(temporary, { recursive: true });
  const settings = { ...env, TMPDIR: temporary, PIP_USER: "0", PIP_REQUIRE_VIRTUALENV: "0" };
  /** @param {readonly string[]} what */
  const pip = (...what) =>
    run(`pip install ${what.join(" ")}`, python, ["-m", "pip", "install", "--target", target, ...what], {
      env: settings,
    });

  say(`  installing torch ${pinned} into ${cache} (once for all clones; about 530 MB to download)`);
  await pip("--no-deps", `torch==${pinned}`).catch((error) => explain(error, python, env));
  const found = libtorchIn(target);
  if (found === undefined) throw new SetupError(`pip installed torch ${pinned}, but it holds no lib/ and include/`);

  let variant = "cpu";
  if (found.cudaVersion !== undefined) {
    const [major, minor] = found.cudaVersion.split(".");
    variant = driver ? `cu${major}${minor}` : `cu${major}${minor}-lean`;
    if (driver) {
      say("  installing CUDA's libraries (an NVIDIA driver is here; about 2.5 GB to download)");
      await pip(...requirements(target));
    } else {
      say("  installing the CUDA libraries that the processor's half is linked to (about 13 MB)");
      const suffix = Number(major) >= 13 ? "" : `-cu${major}`;
      const release = `==${major}.${minor}.*`;
      await pip("--no-deps", `nvidia-cuda-runtime${suffix}${release}`, `nvidia-cuda-cupti${suffix}${release}`);
    }
  }

  const folder = join(cache, `torch-${pinned}-${process.platform}-${process.arch}-${variant}`);
  rmSync(folder, { recursive: true, force: true }); // only a damaged one can be there: a whole one would have been used
  renameSync(target, folder);
  rmSync(partial, { recursive: true, force: true });
  const installed = cachedTorch(cache, driver);
  if (installed === undefined) throw new SetupError(`torch was installed into ${folder} but is not whole there`);
  return installed;
}

/**
 * What the torch wheel in a folder requires, as pip wants it on its command line.
 *
 * @param {string} target
 */
function requirements(target) {
  const info = readdirSync(target).find((name) => /^torch-.*\.dist-info$/.test(name));
  const metadata = info === undefined ? undefined : readText(join(target, info, "METADATA"));
  return [...(metadata ?? "").matchAll(/^Requires-Dist: (.+)$/gm)]
    .map((line) => line[1] ?? "")
    .filter((requirement) => !/\bextra\s*==/.test(requirement));
}

/** @param {NodeJS.ProcessEnv} env */
async function pythonWithPip(env) {
  const names = {
    debian: "python3 python3-pip",
    fedora: "python3 python3-pip",
    arch: "python python-pip",
    suse: "python3 python3-pip",
    mac: "xcode-select --install",
  };
  const or = "Or set VL_REWARD_TORCH to the folder of a torch that you have.";
  const python = findProgram("python3", env);
  if (python === undefined) {
    throw new SetupError(
      `python3, whose pip installs libtorch, is not on the PATH. Get it: ${howToInstall(names, env)}. ${or}`,
    );
  }
  const { code } = await capture(python, ["-m", "pip", "--version"], { env });
  if (code !== 0) {
    throw new SetupError(
      `${python} has no pip, which installs libtorch. Get it: ${howToInstall(names, env)} (or ${python} -m ensurepip). ${or}`,
    );
  }
  return python;
}

/**
 * Adds what usually is the reason when pip finds no wheel: a Python that torch has none for.
 *
 * @param {unknown} error
 * @param {string} python
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<never>}
 */
async function explain(error, python, env) {
  const { stdout } = await capture(python, ["--version"], { env });
  throw new SetupError(
    `${error instanceof Error ? error.message : error}\n` +
      `torch ${pinned} has wheels for Python 3.10 and newer on x86-64 and arm64 Linux and on Apple silicon; ` +
      `this is ${stdout.trim() || python} on ${process.platform} ${process.arch}. ` +
      "If that fits, check the network and pip's settings (python3 -m pip config list), and run the same command again.",
  );
}
