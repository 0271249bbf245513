/**
 * @file The per-user folder for what is kept between runs. Setup keeps its libtorch in the same one; its rule
 * (setup/place.mjs) has to stand apart, because setup runs before this is compiled, and a test holds the two
 * together.
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** -> VL_REWARD_CACHE, or vl-reward in XDG_CACHE_HOME, or where the platform keeps caches. Empty variables are unset. */
export function cacheFolder(env: Environment, platform: NodeJS.Platform = process.platform): string {
  const home = env.HOME || homedir();
  if (env.VL_REWARD_CACHE) return resolve(env.VL_REWARD_CACHE);
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, "vl-reward");
  return platform === "darwin" ? join(home, "Library", "Caches", "vl-reward") : join(home, ".cache", "vl-reward");
}
