/**
 * @file Which of the processes of one run this is, as torchrun, Slurm, Kubernetes' operators and `--processes` say it:
 * RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
 */
import { VlRewardError } from "../../errors.ts";

export interface ProcessEnvironment {
  readonly rank: number; // 0 to worldSize - 1
  readonly worldSize: number;
  /** The rank among the processes of one machine, which says whose GPU is whose; 0 where LOCAL_RANK is not set. */
  readonly localRank: number;
  /** How many of them share this machine. Where LOCAL_WORLD_SIZE is not set: all with LOCAL_RANK, without it this one alone. */
  readonly localSize: number;
  readonly masterAddress: string;
  readonly masterPort: number;
  /** Whether the launcher keeps the store at that address, as torchrun does, and not rank 0. */
  readonly launcherStore: boolean;
  /** Tells a run from the earlier attempts that the same store has seen. */
  readonly attempt: string;
}

/** -> undefined where neither RANK nor WORLD_SIZE is set: one process alone. Throws `distributed_failed`. */
export function processEnvironment(env: NodeJS.ProcessEnv = process.env): ProcessEnvironment | undefined {
  if (!env.RANK && !env.WORLD_SIZE) return undefined;
  const worldSize = wholeNumber(env, "WORLD_SIZE", 1, Number.MAX_SAFE_INTEGER);
  const rank = wholeNumber(env, "RANK", 0, worldSize - 1);
  const alone = worldSize === 1;
  const together = env.LOCAL_RANK ? worldSize : 1;
  return {
    rank,
    worldSize,
    localRank: env.LOCAL_RANK ? wholeNumber(env, "LOCAL_RANK", 0, worldSize - 1) : 0,
    localSize: env.LOCAL_WORLD_SIZE ? wholeNumber(env, "LOCAL_WORLD_SIZE", 1, worldSize) : together,
    masterAddress: alone ? env.MASTER_ADDR || "127.0.0.1" : present(env, "MASTER_ADDR"),
    masterPort: alone && !env.MASTER_PORT ? 0 : wholeNumber(env, "MASTER_PORT", 1, 65_535),
    launcherStore: env.TORCHELASTIC_USE_AGENT_STORE?.toLowerCase() === "true",
    attempt: env.TORCHELASTIC_RESTART_COUNT || "0",
  };
}

function present(env: NodeJS.ProcessEnv, name: string): string {
  const value = env[name];
  if (value) return value;
  throw new VlRewardError(
    "distributed_failed",
    `RANK=${env.RANK ?? ""} and WORLD_SIZE=${env.WORLD_SIZE ?? ""} are set, but ${name} is not. Several processes need RANK, ` +
      "WORLD_SIZE, MASTER_ADDR and MASTER_PORT; unset them all to run one process alone.",
  );
}

function wholeNumber(env: NodeJS.ProcessEnv, name: string, least: number, most: number): number {
  const text = present(env, name);
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  const expected = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  throw new VlRewardError("distributed_failed", `${name}="${text}" is not a whole number ${expected}.`);
}
