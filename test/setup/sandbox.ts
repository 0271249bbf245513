/**
 * @file A folder of its own for a test of setup: a pretend repository, a pretend PATH, pretend torch folders. Setup's
 * own code is the real one; only the programs that it calls, which are the outside world, may be stand-ins.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished, vi } from "vitest";

export const repository = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export class Sandbox {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), "vl-reward-setup-")));
  readonly bin = join(this.folder, "bin");
  readonly log = join(this.folder, "calls.log");

  constructor() {
    mkdirSync(this.bin);
    onTestFinished(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  write(name: string, text: string): string {
    const path = this.path(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return path;
  }

  read(name: string): string {
    return readFileSync(this.path(name), "utf8");
  }

  /** A stand-in program: `body` is JavaScript, with `args` and `log(line)` at hand. Every call is logged. */
  program(name: string, body = ""): string {
    const path = this.write(
      join("bin", name),
      `#!${process.execPath}
const fs = require("node:fs"), { join } = require("node:path"), args = process.argv.slice(2);
fs.appendFileSync(${JSON.stringify(this.log)}, ${JSON.stringify(name)} + " " + args.join(" ").replaceAll("\\n", " ") + "\\n");
${body}
`,
    );
    chmodSync(path, 0o755);
    return path;
  }

  /** Puts a real program of this machine on the pretend PATH; false where it has none. */
  borrow(name: string): boolean {
    try {
      const found = execFileSync("/bin/sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
      // By a script and not a link: compilers and pyenv look at the name they are called by.
      this.write(join("bin", name), `#!/bin/sh\nPATH="${process.env.PATH}" exec ${found} "$@"\n`);
      chmodSync(join(this.bin, name), 0o755);
      return true;
    } catch {
      return false;
    }
  }

  /** The calls of stand-ins so far. */
  calls(): string[] {
    try {
      return readFileSync(this.log, "utf8").trim().split("\n");
    } catch {
      return [];
    }
  }

  /** An environment with nothing on the PATH but what this sandbox put there. */
  env(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
    return { PATH: this.bin, HOME: this.path("home"), ...more };
  }

  /** A folder as in site-packages/torch, without libraries. Returns its path. */
  torch(name: string, version: string, cuda?: string): string {
    this.write(join(name, "version.py"), versionFile(version, cuda));
    for (const part of ["lib", "include/ATen", "include/torch/csrc/api/include"]) {
      mkdirSync(this.path(name, part), { recursive: true });
    }
    return this.path(name);
  }

  /** The repository's node_modules, seen from a pretend repository. */
  linkNodeModules(root: string): void {
    mkdirSync(this.path(root), { recursive: true });
    symlinkSync(join(repository, "node_modules"), this.path(root, "node_modules"));
    this.write(join(root, "package.json"), '{ "type": "module" }');
  }

  /** Runs a module text in a process of its own; it may import from "SETUP/...". */
  spawn(code: string, env: NodeJS.ProcessEnv = this.env()): ChildProcess & { readonly output: Promise<Outcome> } {
    const text = code.replaceAll("SETUP/", `${join(repository, "setup")}/`);
    const child = spawn(process.execPath, ["--input-type=module", "-e", text], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const output = new Promise<Outcome>((resolve) => {
      let stdout = "";
      let stderr = "";
      child.stdout.setEncoding("utf8").on("data", (part: string) => {
        stdout += part;
      });
      child.stderr.setEncoding("utf8").on("data", (part: string) => {
        stderr += part;
      });
      child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
    });
    return Object.assign(child, { output });
  }
}

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Whether this machine has a python3 that a sandbox can borrow. */
export const hasPython = spawnSync("python3", ["--version"]).status === 0;

/** torch/version.py as the wheels have it. */
export function versionFile(version: string, cuda?: string): string {
  const stated = cuda === undefined ? "None" : `'${cuda}'`;
  return `from typing import Optional\n\n__version__ = '${version}'\ndebug = False\ncuda: Optional[str] = ${stated}\nhip: Optional[str] = None\n`;
}

/** Collects what setup says on standard error while the test runs. */
export function listen(): { said(): string } {
  const lines: string[] = [];
  const spy = vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    lines.push(String(text));
    return true;
  });
  onTestFinished(() => spy.mockRestore());
  return { said: () => lines.join("") };
}
