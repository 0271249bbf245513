/**
 * @file Several copies of one program on this machine, as the ranks of one run: what torchrun does, for those who have no
 * Python. Each gets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. They end together: when one dies
 * the others are ended too, and so are all when this process is told to end.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { constants } from "node:os";
import { createInterface } from "node:readline";

export interface ProcessesOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly processes: number;
}

/** How long a process may take to end once another one has died: to find out which rank it lost. */
const graceSeconds = 20;

/**
 * What ends a program is passed on to all ranks, who then save their work for as long as that takes; when any of them comes
 * again, they end at once.
 */
export const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Signals within so many milliseconds are one request: torchrun follows a terminal's Ctrl-C with a signal of its own, systemd
 * signals launcher and ranks alike.
 */
export const oneRequest = 1000;

/**
 * Runs the command to its end, as many times as `processes` says. Rank 0 has our standard streams; what the others print
 * goes to standard error, each line after "[rank 1] ".
 *
 * @returns 0 when all ended well; else the exit code of the one that failed first, 128 and its number for a signal, as in a
 *   shell. Standard error says which it was.
 */
export async function runProcesses({ command, args, processes }: ProcessesOptions): Promise<number> {
  const port = await freePort();
  const children = Array.from({ length: processes }, (_, rank) =>
    startRank(command, args, {
      ...process.env,
      RANK: String(rank),
      WORLD_SIZE: String(processes),
      LOCAL_RANK: String(rank),
      LOCAL_WORLD_SIZE: String(processes),
      MASTER_ADDR: "127.0.0.1",
      MASTER_PORT: String(port),
    }),
  );
  const run = new Run(children);
  for (const signal of stopSignals) process.on(signal, run.pass);
  try {
    await Promise.all(children.map((child, rank) => run.follow(child, rank)));
  } finally {
    for (const signal of stopSignals) process.off(signal, run.pass);
    run.disarm();
  }
  return run.exitCode;
}

/**
 * For the program that runs as a rank: ends it, as by SIGTERM, when the process that started it by `runProcesses` was killed and
 * can end nobody any more. Does nothing in a program that was started otherwise.
 */
export function endWithLauncher(): void {
  if (process.channel === undefined) return;
  process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
  process.channel.unref(); // a listener alone is to keep nobody alive
}

class Run {
  readonly #children: readonly ChildProcess[];
  #ending = false; // because one has died
  #asked: number | undefined; // when, by a signal of ours
  #code: number | undefined;
  #grace: NodeJS.Timeout | undefined;

  constructor(children: readonly ChildProcess[]) {
    this.#children = children;
  }

  get exitCode(): number {
    return this.#code ?? 0;
  }

  readonly pass = (signal: NodeJS.Signals): void => {
    const now = performance.now();
    if (signal === "SIGHUP") process.stderr.on("error", () => {}); // the terminal is gone, the ranks' work is not
    if (this.#asked !== undefined && now - this.#asked < oneRequest) return;
    this.#send(this.#asked !== undefined || this.#ending ? "SIGKILL" : signal);
    this.#asked ??= now;
  };

  disarm(): void {
    clearTimeout(this.#grace);
  }

  async follow(child: ChildProcess, rank: number): Promise<void> {
    const printed = once(child, "close").catch(() => {});
    const { code, how } = await ended(child);
    if (code !== 0) {
      this.#code ??= code; // the others' failures follow from the first
      if (!this.#ending && !(this.#asked !== undefined && isInterrupted(code))) {
        const others = this.#children.filter(isRunning).length;
        say(`rank ${rank} ${how}${others > 0 ? `; ending the other ${others === 1 ? "one" : others}` : ""}`);
        this.#end();
      }
    }
    await printed;
  }

  /** Asks all to end, and sees to it after a while. */
  #end(): void {
    this.#ending = true;
    this.#send("SIGTERM");
    this.#grace = setTimeout(() => {
      for (const [rank, child] of this.#children.entries()) {
        if (isRunning(child)) say(`rank ${rank} did not end within ${graceSeconds} s; killing it`);
      }
      this.#send("SIGKILL");
    }, graceSeconds * 1000);
  }

  #send(signal: NodeJS.Signals): void {
    for (const child of this.#children) if (isRunning(child)) child.kill(signal);
  }
}

/** The exit code of a program that has ended because a signal asked it to. */
const isInterrupted = (code: number): boolean => stopSignals.some((signal) => code === 128 + constants.signals[signal]);

const isRunning = (child: ChildProcess) =>
  child.pid !== undefined && child.exitCode === null && child.signalCode === null;

async function ended(child: ChildProcess): Promise<{ code: number; how: string }> {
  try {
    const [code, signal]: (number | NodeJS.Signals | null)[] = await once(child, "exit");
    if (typeof signal === "string") {
      return { code: 128 + constants.signals[signal as NodeJS.Signals], how: `was killed by ${signal}` };
    }
    return { code: Number(code), how: `ended with exit code ${code}` };
  } catch (error) {
    return { code: 127, how: `could not be started: ${error instanceof Error ? error.message : error}` };
  }
}

function startRank(command: string, args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  const main = env.RANK === "0";
  const child = spawn(command, args, {
    env,
    stdio: main ? ["inherit", "inherit", "inherit", "ipc"] : ["ignore", "pipe", "pipe", "ipc"],
    detached: true, // a terminal's Ctrl-C would else reach it twice: directly, and from us
  });
  for (const stream of [child.stdout, child.stderr]) {
    if (!stream) continue;
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on("line", (line) => {
      say(`[rank ${env.RANK}] ${line}`);
    });
  }
  return child;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** One that nobody listens at now. Another program may still take it before rank 0 does; then rank 0 says so. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}
