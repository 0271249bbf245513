/**
 * @file Step 3: the native addon in the build folder, compiled from native/ or taken as it was compiled before.
 *
 * Beside it stands a link to libtorch's lib folder, by which it finds libtorch. Objects are kept under a name that states all
 * they depend on, so what did not change is not compiled again. native.json is written last: it says that the addon beside
 * it is whole, and which libtorch it belongs to.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { compileAll, findCompiler, flags, LoadError, link, linkName, tryLoading } from "./compile.mjs";
import { SetupError, say, step } from "./console.mjs";
import { filesUnder, hash, hashFiles, partialName, readJson, writeWhole } from "./files.mjs";
import { torchNamedByUser, torchOfPython, versionFits, versionOf } from "./libtorch.mjs";
import { hasNvidiaDriver, torchOfCache } from "./libtorch-cache.mjs";
import { buildNccl, ncclHeaders } from "./nccl.mjs";
import { buildFolder, isInstalled } from "./place.mjs";
import { addonName, hasPrebuilt, keepForOthers, prebuiltFor } from "./prebuilt.mjs";

/** @typedef {import("./place.mjs").Place} Place */
/** @typedef {import("./libtorch.mjs").Torch} Torch */

/**
 * native.json in the build folder, which src/torch/native.ts reads.
 *
 * @typedef {object} NativeBuild
 * @property {string} addon absolute path
 * @property {string} [nccl] absolute path of the library for NCCL, where it could be made
 * @property {Torch} torch
 * @property {string} compiler the command it was compiled with, or "prebuilt"
 * @property {string} fingerprint of everything that the addon was made of
 */

/** The command that an addon has which this machine has not compiled. */
const prebuilt = "prebuilt";

/**
 * Whether the addon in the build folder is that of the sources and of the libtorch that the user wants. Runs no program.
 *
 * @param {Place} place
 */
export function addonIsReady(place) {
  const { env } = place;
  const torch = earlierTorch(place);
  const built = record(place);
  if (torch === undefined || built?.addon !== addonFile(place) || !existsSync(built.addon)) return false;
  if (linkedFolder(place) !== join(torch.folder, "lib")) return false;
  if (env.VL_REWARD_TORCH && torchNamedByUser(place)?.folder !== torch.folder) return false;
  if (env.CXX && built.compiler !== env.CXX.trim()) return false; // without it, any compiler was right
  if (built.nccl !== undefined && !existsSync(built.nccl)) return false;
  return built.fingerprint === fingerprint(place, torch);
}

/**
 * The libtorch of the last build, which stays the choice as long as it is what it was: it is looked for anew when its
 * folder holds another version, and when a driver came after an install without CUDA's libraries.
 *
 * @param {Place} place
 * @returns {Torch | undefined}
 */
function earlierTorch(place) {
  const torch = record(place)?.torch;
  if (torch?.folder === undefined || versionOf(torch.folder) !== torch.version || !versionFits(torch.version)) return;
  const lean = torch.source === "cache" && !torch.cuda && torch.version.includes("+cu");
  return lean && hasNvidiaDriver(place.env) ? undefined : torch;
}

/**
 * Finds or fetches libtorch and gets the addon for it: one that fits, or it is compiled.
 *
 * @param {Place} place
 */
export async function buildAddon(place) {
  const { root, env } = place;
  const ready = !env.CXX && hasPrebuilt(place, sourceHash(root));
  if (!ready) findCompiler(env); // before a long download, so that what is missing is said first

  const found = await step("[2/5] libtorch", "looking for it", async () => {
    const torch =
      torchNamedByUser(place) ?? earlierTorch(place) ?? (await torchOfPython(place)) ?? (await torchOfCache(place));
    say(`  torch ${torch.version} in ${torch.folder} (${whence[torch.source]})`);
    return torch;
  });
  const file = ready ? prebuiltFor(place, found.version, sourceHash(root)) : undefined;
  const doing = file === undefined ? `compiling with ${findCompiler(env).join(" ")}` : `taking ${basename(file)}`;
  await step("[3/5] native addon", doing, async () => {
    if (file !== undefined && (await take(place, found, file))) return;
    try {
      await build(place, found);
    } catch (error) {
      if (found.source !== "python3" || !(error instanceof LoadError)) throw error;
      say(`  ${error.message}\n  python3's torch is not used; taking our own copy`);
      await build(place, await torchOfCache(place));
    }
  });
}

/**
 * The addon as it is published or shared: its file, and the name that says for whom it is.
 *
 * @param {Place} place
 */
export function builtAddon(place) {
  const built = record(place);
  if (built === undefined) throw new SetupError("there is no addon yet");
  return { addon: built.addon, name: addonName(built.torch.version, sourceHash(place.root)) };
}

const whence = {
  VL_REWARD_TORCH: "named by VL_REWARD_TORCH",
  python3: "of the python3 on the PATH",
  cache: "our own copy",
};

/** Not part of the addon, but of a library beside it. */
const ncclSource = join("nccl", "nccl-backend.cc");

/** @param {Place} place */
function recordFile(place) {
  return join(buildFolder(place), "native.json");
}

/** @param {Place} place */
function record(place) {
  return /** @type {NativeBuild | undefined} */ (readJson(recordFile(place)));
}

/** @param {Place} place */
function addonFile(place) {
  return join(buildFolder(place), "vl_reward.node");
}

/** @param {Place} place */
function linkFile(place) {
  return join(buildFolder(place), linkName);
}

/** @param {Place} place */
function linkedFolder(place) {
  try {
    return readlinkSync(linkFile(place));
  } catch {
    return undefined;
  }
}

/**
 * @param {Place} place
 * @param {Torch} torch
 */
function linkTo(place, torch) {
  const link = linkFile(place);
  symlinkSync(join(torch.folder, "lib"), partialName(link));
  renameSync(partialName(link), link);
}

/**
 * @param {Place} place
 * @param {Torch} torch
 */
function fingerprint({ root, env }, torch) {
  return hash([torch.folder, torch.version, ...(ncclHeaders(torch, env) ?? []), sourceHash(root)]);
}

/**
 * Of all that an addon is made of, whichever libtorch it is for.
 *
 * @param {string} root
 */
export function sourceHash(root) {
  const napi = ["node-addon-api", "node-api-headers"].map((name) => readFileSync(packageFile(root, name)));
  return hash([
    `${process.platform} ${process.arch}`,
    ...flags,
    linkName,
    ...napi,
    hashFiles(join(root, "native"), sources(root)),
  ]);
}

/** @param {string} root */
function sources(root) {
  return filesUnder(join(root, "native")).filter((name) => /\.(cc|h)$/.test(name));
}

/**
 * package.json of a dependency, wherever npm put it: beside us, or above in a project that depends on us.
 *
 * @param {string} root
 * @param {string} name
 */
function packageFile(root, name) {
  return createRequire(join(root, "package.json")).resolve(`${name}/package.json`);
}

/**
 * Takes an addon that was compiled before.
 *
 * @param {Place} place
 * @param {Torch} torch
 * @param {string} file
 * @returns {Promise<boolean>} false where it does not load
 */
async function take(place, torch, file) {
  const addon = addonFile(place);
  linkTo(place, torch);
  copyFileSync(file, partialName(addon));
  try {
    await tryLoading(partialName(addon), torch.folder, place.env);
  } catch (error) {
    if (!(error instanceof LoadError)) throw error;
    say(`  it is not used: ${error.message}`);
    return false;
  }
  renameSync(partialName(addon), addon);
  const made = fingerprint(place, torch);
  const nccl = await takeNccl(place, torch);
  writeRecord(place, { addon, ...(nccl && { nccl }), torch, compiler: prebuilt, fingerprint: made });
  return true;
}

/**
 * The library for NCCL stands beside an addon that was compiled elsewhere only where there is a compiler.
 *
 * @param {Place} place
 * @param {Torch} torch
 */
async function takeNccl(place, torch) {
  if (ncclHeaders(torch, place.env) === undefined) return undefined;
  try {
    return (await compileNccl(place, torch, compilation(place, torch, findCompiler(place.env))))?.library;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`  NCCL cannot be used between GPUs, all else can: ${error.message}`);
    return undefined;
  }
}

/**
 * How sources are compiled.
 *
 * @typedef {object} Compilation
 * @property {readonly [string, ...string[]]} compiler
 * @property {readonly string[]} command compiler, flags and include folders
 * @property {(name: string) => { source: string, object: string }} unit of a source's name
 */

/**
 * @param {Place} place
 * @param {Torch} torch
 * @param {[string, ...string[]]} compiler
 * @returns {Compilation}
 */
function compilation(place, torch, compiler) {
  const { root } = place;
  const native = join(root, "native");
  const headers = hashFiles(
    native,
    sources(root).filter((name) => name.endsWith(".h")),
  );
  const include = [
    dirname(packageFile(root, "node-addon-api")),
    join(dirname(packageFile(root, "node-api-headers")), "include"),
    join(torch.folder, "include"),
    join(torch.folder, "include/torch/csrc/api/include"),
    join(native, "gloo-stubs"),
  ];
  const command = [...compiler, ...flags, ...include.flatMap((folder) => ["-isystem", folder])];
  const settings = hash([torch.version, headers, ...command]);
  const folder = objectFolder(place);
  mkdirSync(folder, { recursive: true });
  return {
    compiler,
    command,
    unit: (name) => {
      const source = join(native, name);
      const object = join(folder, `${name.replaceAll("/", "-")}-${hash([settings, readFileSync(source)])}.o`);
      return { source, object };
    },
  };
}

/** @param {Place} place */
function objectFolder(place) {
  return join(buildFolder(place), "objects");
}

/**
 * @param {Place} place
 * @param {Torch} torch
 */
async function build(place, torch) {
  const { root, env } = place;
  const compiler = findCompiler(env);
  const units = sources(root).filter((name) => name.endsWith(".cc") && name !== ncclSource);
  if (units.length === 0) throw new SetupError(`${join(root, "native")} holds no C++ source: the clone is not whole`);
  const made = fingerprint(place, torch); // before compiling: a file saved meanwhile shows as a difference next time
  const how = compilation(place, torch, compiler);
  const objects = units.map(how.unit);
  await compileAll(objects, how.command, env);

  const addon = addonFile(place);
  const files = objects.map(({ object }) => object);
  linkTo(place, torch);
  await link(files, partialName(addon), compiler, join(torch.folder, "lib"), env);
  await tryLoading(partialName(addon), torch.folder, env);
  renameSync(partialName(addon), addon);
  if (isInstalled(place)) keepForOthers(addon, place, addonName(torch.version, sourceHash(root)));

  const nccl = await compileNccl(place, torch, how);
  if (nccl) files.push(nccl.object);
  const folder = objectFolder(place);
  if (isInstalled(place)) rmSync(folder, { recursive: true });
  else for (const name of readdirSync(folder)) if (!files.includes(join(folder, name))) rmSync(join(folder, name));
  writeRecord(place, {
    addon,
    ...(nccl && { nccl: nccl.library }),
    torch,
    compiler: compiler.join(" "),
    fingerprint: made,
  });
}

/**
 * @param {Place} place
 * @param {Torch} torch
 * @param {Compilation} how
 * @returns {Promise<{ library: string, object: string } | undefined>} nothing where it cannot be made
 */
async function compileNccl(place, torch, { compiler, command, unit }) {
  const headers = ncclHeaders(torch, place.env);
  if (headers === undefined) return undefined;
  const file = join(buildFolder(place), "vl_reward_nccl.so");
  const source = unit(ncclSource);
  const library = await buildNccl(source, file, headers, command, compiler, torch, place.env);
  return library === undefined ? undefined : { library, object: source.object };
}

/**
 * @param {Place} place
 * @param {NativeBuild} built
 */
function writeRecord(place, built) {
  writeWhole(recordFile(place), `${JSON.stringify(built, undefined, 2)}\n`);
}
