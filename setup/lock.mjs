/**
 * @file One setup at a time: a lock file that a dead process does not hold forever.
 *
 * The file names its holder, who touches it every few seconds. It is free again when its process is gone, or, where
 * that cannot be seen (another machine or container on the same disk), when nobody has touched it for a while. That
 * while is measured by the waiter's own clock, so clocks need not agree.
 */
import { mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { say } from "./console.mjs";
import { readJson, readText } from "./files.mjs";

const touchEvery = 5_000; // milliseconds
const pollEvery = 200;
const stealEvery = 10;
const oldGuard = 10_000;

/**
 * Does the work while holding the lock, waiting for it first.
 *
 * @template T
 * @param {string} path of the lock file; its folder is made
 * @param {() => Promise<T>} work
 * @param {number} [patience] milliseconds without a sign of life after which a holder counts as gone
 * @returns {Promise<T>}
 */
export async function withLock(path, work, patience = 30_000) {
  mkdirSync(dirname(path), { recursive: true });
  await acquire(path, patience);
  const release = () => rmSync(path, { force: true });
  const touching = setInterval(() => touch(path), touchEvery).unref();
  process.once("exit", release);
  try {
    return await work();
  } finally {
    clearInterval(touching);
    process.off("exit", release);
    release();
  }
}

/**
 * @param {string} path
 * @param {number} patience
 */
async function acquire(path, patience) {
  let seen = "";
  let since = performance.now();
  let told = false;
  while (!create(path)) {
    const now = state(path);
    if (now !== seen) {
      seen = now;
      since = performance.now();
    }
    if (now !== "" && (holderIsGone(path) || performance.now() - since > patience)) {
      steal(path, now);
      await sleep(stealEvery);
      continue;
    }
    if (!told) {
      const pid = holder(path)?.pid;
      say(`waiting for another setup at work here${pid === undefined ? "" : ` (process ${pid})`}`);
      told = true;
    }
    await sleep(pollEvery);
  }
}

/** @param {string} path */
function create(path) {
  try {
    writeFileSync(path, JSON.stringify({ pid: process.pid, host: hostname() }), { flag: "wx" });
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

/** What changes whenever the lock changes hands or its holder shows a sign of life. @param {string} path */
function state(path) {
  const file = statSync(path, { throwIfNoEntry: false });
  return file === undefined ? "" : `${file.ino} ${file.mtimeMs} ${readText(path)}`;
}

/** @param {string} path @returns {{ pid: number, host: string } | undefined} */
function holder(path) {
  return /** @type {{ pid: number, host: string } | undefined} */ (readJson(path));
}

/** @param {string} path */
function holderIsGone(path) {
  const found = holder(path);
  if (found === undefined || found.host !== hostname()) return false;
  try {
    process.kill(found.pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ESRCH";
  }
}

/**
 * Takes a dead holder's lock away. One waiter at a time, behind a guard, so that what is removed is still what was
 * judged dead: a lock that another waiter has made meanwhile stays. The guard stands for an instant; one that is older
 * was left by a process killed in that instant.
 *
 * @param {string} path
 * @param {string} judged its state when it was judged
 */
function steal(path, judged) {
  const guard = `${path}.steal`;
  if (!create(guard)) {
    const age = Date.now() - (statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > oldGuard) rmSync(guard, { force: true });
    return;
  }
  try {
    if (state(path) === judged) rmSync(path, { force: true });
  } finally {
    rmSync(guard, { force: true });
  }
}

/** @param {string} path */
function touch(path) {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch {
    // Taken away while this process was stopped: every result is renamed into place whole, so two at work do no harm.
  }
}
