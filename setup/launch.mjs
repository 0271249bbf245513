/**
 * @file From setup to the program, in one process: signals, exit codes and standard streams are the program's own.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { sayError } from "./console.mjs";
import { ensure, here } from "./ensure.mjs";

/** Sets up what is missing; says what went wrong and ends the process with 2 where that fails. */
export async function setUp() {
  try {
    await ensure(here);
  } catch (error) {
    sayError(error);
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
  // The doctor is for machines on which setup fails.
  if (args[0] === "doctor" && existsSync(program)) await ensure(here).catch(sayError);
  else await setUp();
  process.argv.splice(1, Number.POSITIVE_INFINITY, join(here.root, "bin", "vl-reward.mjs"), ...args);
  await import(pathToFileURL(program).href);
}
