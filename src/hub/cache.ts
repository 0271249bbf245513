/**
 * @file The cache on disk, laid out as Python's huggingface_hub 0.36 does, so that either finds what the other stored:
 *
 *     <cache>/models--org--name/refs/<revision>            text: the commit that a branch or tag pointed to
 *     <cache>/models--org--name/blobs/<etag>               the bytes, named by their checksum
 *     <cache>/models--org--name/snapshots/<commit>/<file>  -> ../../blobs/<etag>
 *     <cache>/.locks/models--org--name/                    who is downloading what
 *
 * Python locks with flock, which Node does not have. Our lock files therefore carry their own name, exclude only our
 * own processes, and are known to be abandoned when their owner is dead or silent.
 */
import { randomUUID } from "node:crypto";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join, relative } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { hasCode } from "../files/system-error.ts";
import { pause } from "../tasks/pause.ts";

/** Where one model lies in the cache. */
export interface RepoFolders {
  readonly blobs: string;
  readonly refs: string;
  readonly snapshots: string;
  readonly locks: string;
}

export function repoFolders(cacheFolder: string, id: string): RepoFolders {
  const name = `models--${id.replaceAll("/", "--")}`;
  const folder = join(cacheFolder, name);
  return {
    blobs: join(folder, "blobs"),
    refs: join(folder, "refs"),
    snapshots: join(folder, "snapshots"),
    locks: join(cacheFolder, ".locks", name),
  };
}

/** A full commit hash names itself; a branch or tag is looked up in `refs`. Undefined if it was never seen. */
export async function cachedCommit(folders: RepoFolders, revision: string): Promise<string | undefined> {
  if (/^[0-9a-f]{40}$/.test(revision)) {
    return revision;
  }
  const commit = await readIfThere(join(folders.refs, revision));
  return commit?.trim() || undefined;
}

/** Remembers which commit a branch or tag points to; writes nothing when it is known or the revision is the commit. */
export async function recordRef(folders: RepoFolders, revision: string, commit: string): Promise<void> {
  if (revision === commit || (await cachedCommit(folders, revision)) === commit) {
    return;
  }
  const path = join(folders.refs, revision);
  const draft = join(folders.refs, "..", `.ref-${randomUUID()}`);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(draft, commit);
  await rename(draft, path);
}

export const indexName = "model.safetensors.index.json";
const weightIndex = z.object({ weight_map: z.record(z.string(), z.string()) });

/** The file of each tensor, as a snapshot's index says; undefined where it has none, or one that the loader will refuse. */
export async function weightMapOf(snapshot: string): Promise<Readonly<Record<string, string>> | undefined> {
  const text = await readIfThere(join(snapshot, indexName));
  if (text === undefined) return undefined;
  try {
    return weightIndex.parse(JSON.parse(text)).weight_map;
  } catch {
    return undefined;
  }
}

/**
 * The files that a snapshot lacks before a model can be loaded from it: config, tokenizer, and the weights, all shards
 * of them. A link to a blob that is gone counts as lacking. Empty: nothing is missing.
 */
export async function missingFiles(snapshot: string): Promise<string[]> {
  const weightMap = await weightMapOf(snapshot);
  const weights = weightMap ? Object.values(weightMap) : ["model.safetensors"];
  return absentFrom(snapshot, new Set(["config.json", "tokenizer.json", ...weights]));
}

/**
 * Whether a snapshot has all that a reward model has, so that the hub need not be asked what else there may be: Python fills
 * snapshots by single files, and its own classes have no use for the head or the processor's configuration.
 */
export async function isWhole(snapshot: string): Promise<boolean> {
  if ((await missingFiles(snapshot)).length > 0) return false;
  const head = "score.weight" in ((await weightMapOf(snapshot)) ?? {}) ? [] : ["value_head.safetensors"];
  return (await absentFrom(snapshot, ["preprocessor_config.json", ...head])).length === 0;
}

/** Those of the names that lead to nothing in a snapshot. */
export async function absentFrom(snapshot: string, names: Iterable<string>): Promise<string[]> {
  const absent: string[] = [];
  for (const name of names) {
    if (!(await exists(join(snapshot, name)))) absent.push(name);
  }
  return absent;
}

/**
 * Makes `snapshots/<commit>/<file>` show the blob. Where the file system has no symbolic links the blob itself moves
 * there when it is new, and is copied when other snapshots may need it, as Python does.
 */
export async function linkIntoSnapshot(blob: string, pointer: string, isNew: boolean): Promise<void> {
  await mkdir(dirname(pointer), { recursive: true });
  const draft = `${pointer}.${randomUUID()}`;
  try {
    await symlink(relative(dirname(pointer), blob), draft);
  } catch (error) {
    if (!hasCode(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL")) {
      throw error;
    }
    if (isNew) {
      await rename(blob, pointer);
      return;
    }
    await copyFile(blob, draft);
  }
  await rename(draft, pointer);
}

const heartbeatMs = 15_000;
const silentMs = 8 * heartbeatMs;
const oldGuardMs = 10_000;

/**
 * Runs `run` while no other process of ours works on the same blob. A lock is taken over when its owner is a dead
 * process of this host, or has not renewed it for two minutes. Should two owners ever arise that way, both write the
 * same bytes to the same places, and only a file with the right checksum becomes a blob.
 */
export async function withBlobLock<T>(
  folders: RepoFolders,
  etag: string,
  waiting: { signal: AbortSignal; onWait: () => void },
  run: () => Promise<T>,
): Promise<T> {
  const path = join(folders.locks, `${etag}.vl-reward.lock`);
  const owner = JSON.stringify({ pid: process.pid, host: hostname(), nonce: randomUUID() });
  await mkdir(folders.locks, { recursive: true });
  for (let tries = 0; !(await claim(path, owner)); tries++) {
    const found = readLock(path);
    if (found && isAbandoned(found)) {
      takeAway(path, found);
      await pause(10, waiting.signal);
      continue;
    }
    if (tries === 0) {
      waiting.onWait();
    }
    await pause(200, waiting.signal);
  }
  const heartbeat = setInterval(() => {
    utimes(path, new Date(), new Date()).catch(() => undefined); // a lost beat matters only if eight are lost
  }, heartbeatMs);
  heartbeat.unref();
  try {
    return await run();
  } finally {
    clearInterval(heartbeat);
    if ((await readIfThere(path)) === owner) {
      await rm(path, { force: true });
    }
  }
}

async function claim(path: string, owner: string): Promise<boolean> {
  try {
    await writeFile(path, owner, { flag: "wx" });
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) {
      return false;
    }
    throw error;
  }
}

/** A lock as it was found; no two states of one lock are equal, whoever holds it. */
interface FoundLock {
  readonly inode: number;
  readonly renewed: number; // milliseconds since 1970
  readonly owner: string;
}

/** Undefined when it was released meanwhile: look again. */
function readLock(path: string): FoundLock | undefined {
  try {
    const { ino, mtimeMs } = statSync(path);
    return { inode: ino, renewed: mtimeMs, owner: readFileSync(path, "utf8") };
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

const lockOwner = z.object({ pid: z.int(), host: z.string() });

function isAbandoned({ renewed, owner }: FoundLock): boolean {
  if (Date.now() - renewed > silentMs) {
    return true;
  }
  try {
    const { pid, host } = lockOwner.parse(JSON.parse(owner));
    return host === hostname() && !isAlive(pid);
  } catch {
    return false; // just created and not yet written
  }
}

/**
 * Takes an abandoned lock away. One waiter at a time, behind a guard, so that what is removed is still what was judged: a
 * lock that another waiter has made meanwhile stays. The guard stands for an instant; an old one was left by a process
 * that was killed in that instant.
 */
function takeAway(path: string, judged: FoundLock): void {
  const guard = `${path}.taking`;
  try {
    writeFileSync(guard, "", { flag: "wx" });
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
    const since = statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Date.now() - since > oldGuardMs) rmSync(guard, { force: true });
    return;
  }
  try {
    if (isDeepStrictEqual(readLock(path), judged)) rmSync(path, { force: true });
  } finally {
    rmSync(guard, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, "EPERM");
  }
}

/** True when the path leads to something; false for a dangling link. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EISDIR")) {
      return undefined;
    }
    throw error;
  }
}
