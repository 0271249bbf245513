/**
 * @file An optional part of step 3: the library that lets processes exchange tensors between GPUs by NCCL. It is made
 * where libtorch was built for CUDA and the headers of CUDA and NCCL are there: those of the wheels beside torch (they
 * lack some of a whole toolkit) and those of CUDA_HOME, CUDA_PATH or /usr/local/cuda. Elsewhere all but this works.
 */
import { existsSync, readdirSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { compileAll, link } from "./compile.mjs";
import { SetupError, say } from "./console.mjs";
import { isFolder, partialName } from "./files.mjs";

/** @typedef {import("./libtorch.mjs").Torch} Torch */

/** One header of each package that the source includes, directly or not. */
const needed = [
  "cuda_runtime.h",
  "crt/host_config.h",
  "nv/target",
  "cublas_v2.h",
  "cusparse.h",
  "cusolverDn.h",
  "nccl.h",
];

/**
 * The folders that hold all headers; undefined where one is missing or there is no libtorch for CUDA.
 *
 * @param {Torch} torch
 * @param {NodeJS.ProcessEnv} env
 * @returns {string[] | undefined}
 */
export function ncclHeaders(torch, env) {
  if (!torch.cuda || process.platform !== "linux") return undefined;
  const nvidia = join(dirname(torch.folder), "nvidia");
  const wheels = isFolder(nvidia) ? readdirSync(nvidia).map((name) => join(nvidia, name)) : [];
  const toolkits = [env.CUDA_HOME, env.CUDA_PATH, "/usr/local/cuda"].flatMap((place) => place || []);
  const folders = [...wheels, ...toolkits].flatMap((place) => [join(place, "include"), join(place, "include", "cccl")]);
  folders.push("/usr/include"); // where a system's package of NCCL puts nccl.h
  const holding = folders.filter((folder) => needed.some((name) => existsSync(join(folder, name))));
  return needed.every((name) => holding.some((folder) => existsSync(join(folder, name)))) ? holding : undefined;
}

/**
 * Compiles and links the library. What fails is said and nothing more: training on one GPU or on CPUs needs none of it.
 *
 * @param {{ source: string, object: string }} unit
 * @param {string} library what to make
 * @param {readonly string[]} headers
 * @param {readonly string[]} command compiler, flags and libtorch's include folders
 * @param {readonly string[]} compiler
 * @param {Torch} torch
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<string | undefined>} the library, if it was made
 */
export async function buildNccl(unit, library, headers, command, compiler, torch, env) {
  try {
    // Not -isystem /usr/include, which would come before the compiler's own and hide it.
    const include = headers.filter((folder) => folder !== "/usr/include").flatMap((folder) => ["-isystem", folder]);
    await compileAll([unit], [...command, ...include], env);
    const lib = join(torch.folder, "lib");
    await link([unit.object], partialName(library), compiler, lib, env, ["-ltorch_cuda", "-lc10_cuda"]);
    renameSync(partialName(library), library);
    return library;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`  NCCL cannot be used between GPUs, all else can: ${error.message}`);
    return undefined;
  }
}
