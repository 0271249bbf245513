/**
 * @file The C++ compiler: which one, with which flags, and what it said when it fails.
 */
import { existsSync, renameSync } from "node:fs";
import { basename } from "node:path";
import { findProgram, howToInstall, SetupError, say, seconds } from "./console.mjs";
import { partialName } from "./files.mjs";
import { capture } from "./processes.mjs";

/** For every source; what libtorch's and Node's headers need, and nothing of this machine's processor. */
export const flags = [
  ..."-std=c++20 -O2 -fPIC -fexceptions -frtti -Wall -Wextra".split(" "),
  "-DNAPI_CPP_EXCEPTIONS",
  "-DNAPI_VERSION=9",
  // A thread that is ended within a call takes no exception any more; without this the process would abort.
  "-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
];

/** The link beside the addon, by which it finds libtorch's libraries wherever they are. */
export const linkName = "libtorch";

/** g++ takes about 1 GB for a file that includes libtorch's headers, so not one per core. */
const atOnce = 2;

/** The addon was built but cannot be loaded: its libtorch lacks something. */
export class LoadError extends SetupError {}

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {[string, ...string[]]} the program and what CXX says beyond it, as in "ccache g++"
 */
export function findCompiler(env) {
  const [named, ...more] = (env.CXX ?? "").split(/\s+/).filter((word) => word !== "");
  if (named !== undefined) {
    if (findProgram(named, env) !== undefined) return [named, ...more];
    throw new SetupError(`CXX=${env.CXX}, but there is no program ${named}. Set it to a C++20 compiler, or unset it.`);
  }
  const found = ["c++", "g++", "clang++"].find((name) => findProgram(name, env) !== undefined);
  if (found !== undefined) return [found];
  const names = { debian: "g++", fedora: "gcc-c++", arch: "gcc", suse: "gcc-c++", mac: "xcode-select --install" };
  throw new SetupError(
    "a C++ compiler is needed to build the addon, and none of c++, g++ and clang++ is on the PATH. " +
      `Get one: ${howToInstall(names, env)}. Or set CXX to one.`,
  );
}

/**
 * Compiles the sources whose objects are not there yet, a few at a time.
 *
 * @param {readonly { source: string, object: string }[]} units
 * @param {readonly string[]} command compiler, flags and include folders
 * @param {NodeJS.ProcessEnv} env
 */
export async function compileAll(units, command, env) {
  const missing = units.filter(({ object }) => !existsSync(object));
  const queue = [...missing];
  let done = 0;
  /** @type {unknown[]} */
  const failures = [];
  const worker = async () => {
    for (let unit = queue.shift(); unit !== undefined; unit = queue.shift()) {
      const start = performance.now();
      const name = basename(unit.source);
      try {
        await call([...command, "-c", unit.source, "-o", partialName(unit.object)], env, `compiling ${name}`);
      } catch (error) {
        failures.push(error);
        queue.length = 0;
        return;
      }
      renameSync(partialName(unit.object), unit.object);
      done += 1;
      say(`  ${name} compiled in ${seconds(performance.now() - start)} (${done} of ${missing.length})`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (failures.length > 0) throw failures[0];
}

/**
 * Links objects to libtorch's two libraries for the processor; CUDA's are loaded at run time, where a device is.
 *
 * @param {readonly string[]} objects
 * @param {string} addon
 * @param {readonly string[]} compiler
 * @param {string} lib libtorch's lib folder
 * @param {NodeJS.ProcessEnv} env
 * @param {readonly string[]} [more] libraries beyond the two, as in "-lm"
 */
export async function link(objects, addon, compiler, lib, env, more = []) {
  const mac = process.platform === "darwin";
  // Old tags on Linux: LD_LIBRARY_PATH must not slip another libtorch under an addon that was built for this one.
  const how = mac ? ["-bundle", "-undefined", "dynamic_lookup"] : ["-shared", "-Wl,--disable-new-dtags"];
  const beside = `-Wl,-rpath,${mac ? "@loader_path" : "$ORIGIN"}/${linkName}`;
  const libraries = [`-L${lib}`, "-ltorch_cpu", "-lc10", ...more, beside];
  await call([...compiler, ...how, ...objects, "-o", addon, ...libraries], env, "linking");
}

/**
 * Loads the addon once in a process of its own: what is missing shows now and not at the first score.
 *
 * @param {string} addon
 * @param {string} torch libtorch's folder, for the error
 * @param {NodeJS.ProcessEnv} env
 */
export async function tryLoading(addon, torch, env) {
  const load = "process.dlopen({ exports: {} }, process.argv[1])";
  const { code, stderr } = await capture(process.execPath, ["-e", load, addon], { env });
  if (code === 0) return;
  const reason = stderr.match(/^\w*Error: (.*)$/m)?.[1] ?? (stderr.trim() || `exit code ${code}`);
  throw new LoadError(`the addon was built against ${torch} but does not load: ${reason}`);
}

/**
 * @param {readonly string[]} command
 * @param {NodeJS.ProcessEnv} env
 * @param {string} doing
 */
async function call(command, env, doing) {
  const [program = "", ...args] = command;
  const { code, stdout, stderr } = await capture(program, args, { env });
  const said = `${stdout}${stderr}`.trim();
  if (code === 0) {
    if (said !== "") say(said);
    return;
  }
  throw new SetupError(`${doing} failed with exit code ${code}.\n${firstErrors(said)}\ncommand: ${command.join(" ")}`);
}

/**
 * A compiler's page of templates, cut to its first errors with a line of context around each.
 *
 * @param {string} said
 */
function firstErrors(said) {
  const lines = said.split("\n");
  const errors = lines.flatMap((line, at) =>
    /\berror\b|undefined (reference|symbol)|cannot find/i.test(line) ? [at] : [],
  );
  if (errors.length === 0) return lines.slice(-20).join("\n");
  const shown = new Set(errors.slice(0, 5).flatMap((at) => [at, at + 1, at + 2]));
  const rest = errors.length > 5 ? `\n(${errors.length - 5} more)` : "";
  return lines.filter((_, at) => shown.has(at)).join("\n") + rest;
}
