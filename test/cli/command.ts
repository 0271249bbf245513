/**
 * @file Runs the real `vl-reward` command, as a user would, for end-to-end tests.
 */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));
const launcher = fileURLToPath(new URL("../../bin/vl-reward.mjs", import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the command in the repository's root; all three standard streams are pipes. */
export function start(...args: readonly string[]): ChildProcessByStdio<Writable, Readable, Readable> {
  return spawn(process.execPath, [launcher, ...args], { cwd: root, stdio: ["pipe", "pipe", "pipe"] });
}

/** Runs the command to its end with this standard input; `env` adds to this process's variables, or removes some. */
export async function run(
  args: readonly string[],
  input: string | Uint8Array = "",
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [launcher, ...args], { cwd: root, env: { ...process.env, ...env } });
  child.stdin.on("error", () => {}); // a command that fails at once does not read its input
  child.stdin.end(input);
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), exitCode(child)]);
  return { code, stdout, stderr };
}

export async function exitCode(child: ReturnType<typeof start>): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return child.exitCode;
}

/** The lines of a stream as they come; a loop over them may be left and taken up again. */
export function linesOf(stream: Readable): { next(): Promise<string> } {
  const reader: Interface = createInterface({ input: stream });
  const lines = reader[Symbol.asyncIterator]();
  return {
    async next() {
      const line = await lines.next();
      if (line.done) throw new Error("the stream has ended");
      return line.value;
    },
  };
}

async function text(stream: Readable): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}
