/**
 * @file From setup to the program, in one process: signals, exit codes and standard streams are the program's own.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { SetupError, sayError } from "./console.mjs";
import { ensure, ensureProgram, here } from "./ensure.mjs";

/**
 * Sets up what is missing; says what went wrong and ends the process with 2 where that fails.
 *
 * @param {typeof ensure} [what]
 * @param {(error: unknown) => void} [tell]
 */
export async function setUp(what = ensure, tell = sayError) {
  try {
    await what(here);
  } catch (error) {
    tell(error);
    process.exit(2);
  }
}

/**
 * Runs the command line program with these arguments.
 *
 * @param {readonly string[]} args
 */
export async function launch(args) {
  const program = join(here.root, "dist", "cli", "main.js");
  const tell = args.includes("--json") ? sayAsJson : sayError;
  // The doctor is for machines on which setup fails.
  if (args[0] === "doctor" && existsSync(program)) await ensure(here).catch(sayError);
  else await setUp(needsLibtorch(args) ? ensure : ensureProgram, tell);
  process.argv.splice(1, Number.POSITIVE_INFINITY, join(here.root, "bin", "vl-reward.mjs"), ...args);
  await import(pathToFileURL(program).href);
}

/**
 * Nobody who asks for help should wait for a download.
 *
 * @param {readonly string[]} args
 */
function needsLibtorch(args) {
  const [command = "help"] = args;
  if (["help", "man", "completion"].includes(command)) return false;
  return !args.some((arg) => ["--help", "-h", "--version", "-V"].includes(arg));
}

/**
 * As src/cli/failure.ts writes errors for programs.
 *
 * @param {unknown} error
 */
function sayAsJson(error) {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof SetupError ? "native_unavailable" : "internal_error";
  process.stderr.write(`${JSON.stringify({ error: { code, message } })}\n`);
}
