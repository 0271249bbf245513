/**
 * @file What the environment says about the Hugging Face hub: where the cache lies, which server, which token.
 *
 * The variables, their order and their defaults are those of Python's huggingface_hub (its constants.py and _auth.py,
 * version 0.36), so that one setup serves both. Nothing here touches the network.
 */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { VlRewardError } from "../errors.ts";
import { hasCode } from "../files/system-error.ts";

export interface HubSettings {
  /** Address of the hub, without a slash at its end. */
  readonly endpoint: string;
  /** Sent to the endpoint's own origin only. */
  readonly token: string | undefined;
  /** The folder that holds `models--org--name` folders. */
  readonly cacheFolder: string;
  /** The setting that switches the network off, as `NAME=value`. */
  readonly offlineBy: string | undefined;
  /** Milliseconds without a byte after which a connection counts as dead. */
  readonly idleTimeout: number;
  /** Milliseconds to wait before each repetition of a request that failed; as many repetitions as entries. */
  readonly retryDelays: readonly number[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN,
 * HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT (seconds). Empty variables count as unset.
 * @throws VlRewardError `usage` when HF_ENDPOINT or HF_HUB_DOWNLOAD_TIMEOUT cannot be understood
 */
export async function hubSettings(env: Environment): Promise<HubSettings> {
  const home = expand(env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"), env);
  const offline = env.HF_HUB_OFFLINE ? "HF_HUB_OFFLINE" : "TRANSFORMERS_OFFLINE";
  return {
    endpoint: endpoint(env.HF_ENDPOINT || "https://huggingface.co"),
    token: await token(env, home),
    cacheFolder: expand(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, "hub"), env),
    offlineBy: isTrue(env[offline]) ? `${offline}=${env[offline]}` : undefined,
    idleTimeout: seconds(env.HF_HUB_DOWNLOAD_TIMEOUT || "10") * 1000,
    retryDelays: [500, 1000, 2000, 4000, 8000],
  };
}

async function token(env: Environment, home: string): Promise<string | undefined> {
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) {
    return undefined;
  }
  const given = (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN || "").trim();
  if (given !== "") {
    return sendable(given, "HF_TOKEN");
  }
  const path = expand(env.HF_TOKEN_PATH || join(home, "token"), env);
  try {
    return sendable((await readFile(path, "utf8")).trim(), path) || undefined;
  } catch (cause) {
    if (cause instanceof VlRewardError) {
      throw cause;
    }
    if (hasCode(cause, "ENOENT")) {
      return undefined;
    }
    throw new VlRewardError("usage", `The hub token file ${path} cannot be read. Mend it or set HF_TOKEN.`, { cause });
  }
}

/** Returns the token if it can stand in a header; it is a secret, so no message repeats it. */
function sendable(token: string, source: string): string {
  if (!/^[\x21-\x7e]*$/.test(token)) {
    throw new VlRewardError("usage", `The hub token in ${source} has spaces or characters beyond ASCII; copy it anew.`);
  }
  return token;
}

function endpoint(given: string): string {
  if (!URL.canParse(given) || !/^https?:$/.test(new URL(given).protocol)) {
    throw new VlRewardError("usage", `HF_ENDPOINT is "${given}"; expected an address like https://hub.example.org.`);
  }
  return given.replace(/\/+$/, "");
}

function seconds(given: string): number {
  const value = Number(given);
  if (!(value > 0 && value < 1e6)) {
    throw new VlRewardError("usage", `HF_HUB_DOWNLOAD_TIMEOUT is "${given}"; expected a number of seconds.`);
  }
  return value;
}

function isTrue(value: string | undefined): boolean {
  return ["1", "ON", "YES", "TRUE"].includes((value ?? "").toUpperCase());
}

/** `~` and `$NAME` or `${NAME}` as Python's expanduser and expandvars: unknown names stay as they are. */
function expand(path: string, env: Environment): string {
  const absolute = path.replace(/^~(?=\/|$)/, homedir());
  return absolute.replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, bare, braced) => env[bare ?? braced] ?? whole);
}
