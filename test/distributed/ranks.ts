/** @file Starts programs as the ranks of one run: real processes that import the built package. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { onTestFinished } from "vitest";
import { here } from "../../setup/ensure.mjs";

export interface RankOutcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The lines that the program told. */
  readonly told: unknown[];
  readonly stderr: string;
}

export interface Rank {
  readonly child: ChildProcess;
  readonly ended: Promise<RankOutcome>;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, "listening");
  const address = server.address();
  server.close();
  if (typeof address !== "object" || address === null) throw new Error("a server without a port");
  return address.port;
}

/**
 * What every program finds in scope. `tell` writes a line of JSON; what `connect` gives is `group`. An error is told and
 * ends the program with code 1.
 */
const prelude = `
import { Worker } from "node:worker_threads";
const TORCH = ${JSON.stringify(pathToFileURL(path.join(here.root, "dist/torch/index.js")).href)};
const torch = await import(TORCH);
const { ProcessGroup, Heartbeat, endProcess, processEnvironment, scope, tensorFrom } = torch;
const environment = processEnvironment();
const { rank, worldSize } = environment;
const tell = (value) => console.log(JSON.stringify(value, (_, item) => typeof item === "bigint" ? Number(item)
  : ArrayBuffer.isView(item) ? Array.from(item, Number) : item));
const connect = (more) => ProcessGroup.connect({ ...environment, backend: "gloo", joinSeconds: 20, timeoutSeconds: 60, ...more });
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const failed = (error) => {
  tell({ code: error.code, message: error.message });
  process.exitCode = 1;
};
process.on("uncaughtException", failed);
`;

export function startRank(env: Record<string, string | number>, program: string): Rank {
  const texts = Object.entries(env).map(([name, value]) => [name, String(value)]);
  const child = spawn(process.execPath, ["--input-type=module", "-e", prelude + program], {
    env: { ...process.env, OMP_NUM_THREADS: "1", ...Object.fromEntries(texts) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const ended = once(child, "close").then(([code, signal]): RankOutcome => {
    const told = stdout.split("\n").filter((line) => line !== "");
    return {
      code,
      signal,
      told: told.map((line) => JSON.parse(line)),
      stderr,
    };
  });
  return { child, ended };
}

/** Starts all ranks of a run on this machine. */
export async function startRanks(
  worldSize: number,
  program: string,
  env: Record<string, string> = {},
): Promise<Rank[]> {
  const port = env.MASTER_PORT ?? (await freePort());
  return Array.from({ length: worldSize }, (_, rank) =>
    startRank(
      { RANK: rank, WORLD_SIZE: worldSize, LOCAL_RANK: rank, MASTER_ADDR: "127.0.0.1", MASTER_PORT: port, ...env },
      program,
    ),
  );
}

/** Runs all ranks to their ends. */
export async function runRanks(
  worldSize: number,
  program: string,
  env: Record<string, string> = {},
): Promise<RankOutcome[]> {
  return Promise.all((await startRanks(worldSize, program, env)).map(({ ended }) => ended));
}
