/** @file A file system without symbolic links: Node's `symlink` refuses as FAT and some network file systems do. */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { linkIntoSnapshot, missingFiles, repoFolders, withBlobLock } from "./cache.ts";

vi.mock("node:fs/promises", async (original) => ({
  ...(await original<typeof import("node:fs/promises")>()),
  symlink: () => Promise.reject(Object.assign(new Error("EPERM: operation not permitted, symlink"), { code: "EPERM" })),
}));

let folder: string;
const signal = new AbortController().signal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vl-reward-cache-"));
  await mkdir(join(folder, "blobs"));
  await writeFile(join(folder, "blobs", "etag"), "bytes");
});

afterEach(() => rm(folder, { recursive: true }));

it("moves a new blob into the snapshot", async () => {
  const pointer = join(folder, "snapshots", "c", "config.json");
  await linkIntoSnapshot(join(folder, "blobs", "etag"), pointer, true);
  expect(await readFile(pointer, "utf8")).toBe("bytes");
  expect(await readdir(join(folder, "blobs"))).toEqual([]);
  expect(await readdir(join(folder, "snapshots", "c"))).toEqual(["config.json"]);
});

it("copies a blob that was there before", async () => {
  const pointer = join(folder, "snapshots", "c", "config.json");
  await linkIntoSnapshot(join(folder, "blobs", "etag"), pointer, false);
  expect(await readFile(pointer, "utf8")).toBe("bytes");
  expect(await readdir(join(folder, "blobs"))).toEqual(["etag"]);
});

it("takes over the lock of another host after two silent minutes, not before", async () => {
  const folders = repoFolders(folder, "org/model");
  const lock = join(folders.locks, "etag.vl-reward.lock");
  await mkdir(folders.locks, { recursive: true });
  await writeFile(lock, JSON.stringify({ pid: 1, host: "elsewhere.example", nonce: "x" }));
  const waits: string[] = [];
  const stop = new AbortController();
  const onWait = (): void => {
    waits.push("wait");
    stop.abort(new Error("still held"));
  };
  await expect(
    withBlobLock(folders, "etag", { signal: stop.signal, onWait }, () => Promise.resolve("ran")),
  ).rejects.toThrow("still held");
  const silent = new Date(Date.now() - 121_000);
  await utimes(lock, silent, silent);
  expect(await withBlobLock(folders, "etag", { signal, onWait }, () => Promise.resolve("ran"))).toBe("ran");
  expect(waits).toEqual(["wait"]);
  expect(await readdir(folders.locks)).toEqual([]);
});

it("lets many waiters through one by one, though a dead process stood first", async () => {
  const folders = repoFolders(folder, "org/model");
  const lock = join(folders.locks, "etag.vl-reward.lock");
  const { pid } = spawnSync(process.execPath, ["-e", ""]); // of a process that has ended
  await mkdir(folders.locks, { recursive: true });
  await writeFile(lock, JSON.stringify({ pid, host: hostname(), nonce: "x" }));
  let [inside, most, done] = [0, 0, 0];
  const work = async (): Promise<void> => {
    most = Math.max(most, ++inside);
    await sleep(30);
    inside--;
    done++;
  };
  const waiting = { signal, onWait: () => {} };
  await Promise.all(Array.from({ length: 4 }, () => withBlobLock(folders, "etag", waiting, work)));
  expect({ most, done }).toEqual({ most: 1, done: 4 });
  expect(await readdir(folders.locks)).toEqual([]);
});

it("takes an abandoned lock away behind a guard: one waiter at a time, and not for ever", async () => {
  const folders = repoFolders(folder, "org/model");
  const lock = join(folders.locks, "etag.vl-reward.lock");
  const guard = `${lock}.taking`;
  await mkdir(folders.locks, { recursive: true });
  await writeFile(lock, JSON.stringify({ pid: 1, host: "elsewhere.example", nonce: "x" }));
  const silent = new Date(Date.now() - 121_000);
  await utimes(lock, silent, silent);
  await writeFile(guard, ""); // another waiter is just taking it away
  const soon = AbortSignal.timeout(300);
  const run = (): Promise<string> => Promise.resolve("ran");
  await expect(withBlobLock(folders, "etag", { signal: soon, onWait: () => {} }, run)).rejects.toThrow(/timeout/);
  expect(await readdir(folders.locks)).toHaveLength(2);
  const old = new Date(Date.now() - 11_000); // that waiter was killed
  await utimes(guard, old, old);
  expect(await withBlobLock(folders, "etag", { signal, onWait: () => {} }, run)).toBe("ran");
  expect(await readdir(folders.locks)).toEqual([]);
});

it("asks for one weight file where there is no index, and for every shard where there is one", async () => {
  const snapshot = join(folder, "snapshots", "c");
  await mkdir(snapshot, { recursive: true });
  expect(await missingFiles(snapshot)).toEqual(["config.json", "tokenizer.json", "model.safetensors"]);
  await writeFile(join(snapshot, "config.json"), "{}");
  await writeFile(join(snapshot, "tokenizer.json"), "{}");
  const weightMap = { a: "model-1.safetensors", b: "model-2.safetensors", c: "model-1.safetensors" };
  await writeFile(join(snapshot, "model.safetensors.index.json"), JSON.stringify({ weight_map: weightMap }));
  await writeFile(join(snapshot, "model-2.safetensors"), "");
  expect(await missingFiles(snapshot)).toEqual(["model-1.safetensors"]);
});
