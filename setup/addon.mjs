/**
 * @file Step 3: the native addon, compiled from native/ against libtorch into build/.
 *
 * Objects are kept under a name that states all they depend on, so what did not change is not compiled again.
 * build/native.json is written last: it says that the addon beside it is whole, and which libtorch it belongs to.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { compileAll, findCompiler, flags, LoadError, link, tryLoading } from "./compile.mjs";
import { SetupError, say, step } from "./console.mjs";
import { filesUnder, hash, hashFiles, partialName, readJson, writeWhole } from "./files.mjs";
import { torchNamedByUser, torchOfPython, versionFits, versionOf } from "./libtorch.mjs";
import { hasNvidiaDriver, torchOfCache } from "./libtorch-cache.mjs";
import { buildNccl, ncclHeaders } from "./nccl.mjs";

/** @typedef {import("./ensure.mjs").Place} Place */
/** @typedef {import("./libtorch.mjs").Torch} Torch */

/**
 * build/native.json, which src/torch/native.ts reads.
 *
 * @typedef {object} NativeBuild
 * @property {string} addon absolute path
 * @property {string} [nccl] absolute path of the library for NCCL, where it could be made
 * @property {Torch} torch
 * @property {string} compiler the command it was compiled with
 * @property {string} fingerprint of everything that the addon was made of
 */

/**
 * Whether the addon in build/ is that of the sources and of the libtorch that the user wants. Runs no program.
 *
 * @param {Place} place
 */
export function addonIsReady(place) {
  const { root, env } = place;
  const torch = earlierTorch(place);
  const built = record(root);
  if (torch === undefined || built?.addon !== addonFile(root) || !existsSync(built.addon)) return false;
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
function earlierTorch({ root }) {
  const torch = record(root)?.torch;
  if (torch?.folder === undefined || versionOf(torch.folder) !== torch.version || !versionFits(torch.version)) return;
  const lean = torch.source === "cache" && !torch.cuda && torch.version.includes("+cu");
  return lean && hasNvidiaDriver() ? undefined : torch;
}

/**
 * Finds or fetches libtorch and builds the addon against it.
 *
 * @param {Place} place
 */
export async function buildAddon(place) {
  mkdirSync(join(place.root, "build", "objects"), { recursive: true });
  const compiler = findCompiler(place.env); // before a long download, so that what is missing is said first

  const found = await step("[2/4] libtorch", "looking for it", async () => {
    const torch =
      torchNamedByUser(place) ?? earlierTorch(place) ?? (await torchOfPython(place)) ?? (await torchOfCache(place));
    say(`  torch ${torch.version} in ${torch.folder} (${whence[torch.source]})`);
    return torch;
  });
  await step("[3/4] native addon", `compiling with ${compiler.join(" ")}`, async () => {
    try {
      await build(place, found, compiler);
    } catch (error) {
      if (found.source !== "python3" || !(error instanceof LoadError)) throw error;
      say(`  ${error.message}\n  python3's torch is not used; taking our own copy`);
      await build(place, await torchOfCache(place), compiler);
    }
  });
}

const whence = {
  VL_REWARD_TORCH: "named by VL_REWARD_TORCH",
  python3: "of the python3 on the PATH",
  cache: "our own copy",
};

/** Not part of the addon, but of a library beside it. */
const ncclSource = join("nccl", "nccl-backend.cc");

/** @param {string} root */
function recordFile(root) {
  return join(root, "build", "native.json");
}

/** @param {string} root */
function record(root) {
  return /** @type {NativeBuild | undefined} */ (readJson(recordFile(root)));
}

/** @param {string} root */
function addonFile(root) {
  return join(root, "build", "vl_reward.node");
}

/**
 * @param {Place} place
 * @param {Torch} torch
 */
function fingerprint({ root, env }, torch) {
  const native = join(root, "native");
  const napi = ["node-addon-api", "node-api-headers"].map((name) => readFileSync(packageFile(root, name)));
  return hash([
    `${process.platform} ${process.arch}`,
    torch.folder,
    torch.version,
    ...flags,
    ...(ncclHeaders(torch, env) ?? []),
    ...napi,
    hashFiles(native, sources(root)),
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
 * @param {Place} place
 * @param {Torch} torch
 * @param {[string, ...string[]]} compiler
 */
async function build(place, torch, compiler) {
  const { root, env } = place;
  const native = join(root, "native");
  const units = sources(root).filter((name) => name.endsWith(".cc") && name !== ncclSource);
  if (units.length === 0) throw new SetupError(`${native} holds no C++ source: the clone is not whole`);
  const made = fingerprint(place, torch); // before compiling: a file saved meanwhile shows as a difference next time
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
  const folder = join(root, "build", "objects");
  /** @param {string} name */
  const unit = (name) => {
    const source = join(native, name);
    const object = join(folder, `${name.replaceAll("/", "-")}-${hash([settings, readFileSync(source)])}.o`);
    return { source, object };
  };
  const objects = units.map(unit);
  await compileAll(objects, command, env);

  const addon = addonFile(root);
  const files = objects.map(({ object }) => object);
  await link(files, partialName(addon), compiler, join(torch.folder, "lib"), env);
  await tryLoading(partialName(addon), torch.folder, env);
  renameSync(partialName(addon), addon);

  const cuda = ncclHeaders(torch, env);
  const library = join(root, "build", "vl_reward_nccl.so");
  const nccl = cuda && (await buildNccl(unit(ncclSource), library, cuda, command, compiler, torch, env));
  if (nccl) files.push(unit(ncclSource).object);
  for (const name of readdirSync(folder)) if (!files.includes(join(folder, name))) rmSync(join(folder, name));

  /** @type {NativeBuild} */
  const result = { addon, ...(nccl && { nccl }), torch, compiler: compiler.join(" "), fingerprint: made };
  writeWhole(recordFile(root), `${JSON.stringify(result, undefined, 2)}\n`);
}
