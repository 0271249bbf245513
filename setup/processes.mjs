/**
 * @file Running other programs: quietly or with their own progress on a terminal, and never left behind when setup is
 * interrupted.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { SetupError } from "./console.mjs";

/**
 * @typedef {object} Outcome
 * @property {number} code exit status; 127 when the program could not be started
 * @property {string} stdout
 * @property {string} stderr
 */

/**
 * Runs a program and collects what it prints.
 *
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env: NodeJS.ProcessEnv }} options
 * @returns {Promise<Outcome>}
 */
export function capture(program, args, options) {
  return start(program, args, options, "pipe");
}

/**
 * Runs a program that must succeed. On a terminal its own progress is shown as it comes; elsewhere nothing is shown
 * unless it fails.
 *
 * @param {string} doing for the error, as in "npm ci"
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env: NodeJS.ProcessEnv }} options
 */
export async function run(doing, program, args, options) {
  const shown = process.stderr.isTTY === true;
  const { code, stdout, stderr } = await start(program, args, options, shown ? 2 : "pipe");
  if (code === 0) return;
  const lines = `${stdout}\n${stderr}`.trim().split("\n");
  // npm says the reason first, pip last.
  const said = lines.length <= 30 ? lines : [...lines.slice(0, 15), "[...]", ...lines.slice(-15)];
  throw new SetupError(
    `${doing} failed with exit code ${code}.\n${said.join("\n")}\ncommand: ${[program, ...args].join(" ")}`,
  );
}

/**
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env: NodeJS.ProcessEnv }} options
 * @param {"pipe" | 2} output 2 is our standard error: what a child prints is never a result
 * @returns {Promise<Outcome>}
 */
function start(program, args, options, output) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { ...options, stdio: ["ignore", output, output] });
    const release = stopWithUs(child);
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text) => {
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    child.once("error", (error) => {
      release();
      resolve({ code: 127, stdout, stderr: `${stderr}${error.message}` });
    });
    child.once("close", (code, signal) => {
      release();
      resolve({ code: code ?? 128 + (signal === null ? 0 : constants.signals[signal]), stdout, stderr });
    });
  });
}

const fatal = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();

/** @param {NodeJS.Signals} signal */
function end(signal) {
  for (const child of running) child.kill(signal);
  process.exit(128 + constants.signals[signal]);
}

/**
 * Lets the signals that end us end a child too. While no child runs, signals have their usual effect.
 *
 * @param {import("node:child_process").ChildProcess} child
 * @returns {() => void} to be called when the child is gone
 */
function stopWithUs(child) {
  if (running.size === 0) for (const signal of fatal) process.on(signal, end);
  running.add(child);
  return () => {
    running.delete(child);
    if (running.size === 0) for (const signal of fatal) process.off(signal, end);
  };
}
