/**
 * @file Whether the machine is quiet enough to measure on: what its processors do that is none of our work, and who does it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";

/** Of one processor. Below it, medians move by less than they differ between runs on an idle machine. */
export const bearable = 0.1;

/**
 * What the processors have done since the machine started.
 *
 * @typedef {object} Snapshot
 * @property {number} time milliseconds, of performance.now()
 * @property {number} busy milliseconds, all processors together, what a hypervisor took away included
 * @property {number} own milliseconds of this process and of its children that have ended
 */

/** @returns {Snapshot} */
export function snapshot() {
  const times = cpus().map(({ times }) => times.user + times.nice + times.sys + times.irq);
  return { time: performance.now(), busy: sum(times) + stolen(), own: ownTime() };
}

/**
 * How many processors others kept busy between two snapshots. 0.02 of a processor are seen on machines that do nothing.
 *
 * @param {Snapshot} before
 * @param {Snapshot} after
 */
export function othersBusy(before, after) {
  const busy = after.busy - before.busy - (after.own - before.own);
  return Math.max(0, busy / (after.time - before.time));
}

/**
 * The processes that kept processors busy, the busiest first; none where the system does not tell.
 *
 * @param {Map<number, Process>} before
 * @param {Map<number, Process>} after
 * @param {number} milliseconds between the two
 * @returns {string[]} as in "node (process 123): 0.9 of a processor"
 */
export function busiest(before, after, milliseconds) {
  return [...after]
    .filter(([pid]) => pid !== process.pid)
    .map(([pid, { name, time }]) => ({ pid, name, share: (time - (before.get(pid)?.time ?? 0)) / milliseconds }))
    .filter(({ share }) => share > bearable / 2)
    .sort((a, b) => b.share - a.share)
    .slice(0, 5)
    .map(({ pid, name, share }) => `${name} (process ${pid}): ${share.toFixed(1)} of a processor`);
}

/** @typedef {{ name: string, time: number }} Process time is in milliseconds */

const tick = 10; // milliseconds: USER_HZ is 100 on every Linux

/** @returns {Map<number, Process>} by process id */
export function processes() {
  const pids = read(() => readdirSync("/proc").filter((name) => /^\d+$/.test(name))) ?? [];
  return new Map(
    pids.flatMap((pid) => {
      const found = processOf(read(() => readFileSync(`/proc/${pid}/stat`, "utf8")) ?? "");
      return found === undefined ? [] : [[Number(pid), found]];
    }),
  );
}

/**
 * @param {string} stat of /proc/PID/stat; the name may hold spaces and brackets
 * @returns {Process | undefined}
 */
export function processOf(stat) {
  const [, name, rest = ""] = /^\d+ \((.*)\) (.*)$/s.exec(stat) ?? [];
  const fields = rest.split(" ").map(Number);
  const [user, system] = [fields[11], fields[12]]; // utime and stime, fields 14 and 15 of proc(5)
  return name === undefined || user === undefined || system === undefined
    ? undefined
    : { name, time: (user + system) * tick };
}

/**
 * Looks on for a while, doing nothing.
 *
 * @param {number} seconds
 * @returns {Promise<{ busy: number, who: string[] }>} processors that others kept busy
 */
export async function lookOn(seconds) {
  const [before, running] = [snapshot(), processes()];
  await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  const [after, still] = [snapshot(), processes()];
  return { busy: othersBusy(before, after), who: busiest(running, still, after.time - before.time) };
}

/** "0.43 of 2 processors" @param {number} busy */
export function share(busy) {
  return `${busy.toFixed(2)} of ${availableParallelism()} processors`;
}

/** What a hypervisor gave to others, in milliseconds; only Linux tells. */
function stolen() {
  const line = read(() => readFileSync("/proc/stat", "utf8"))?.match(/^cpu +(.*)$/m)?.[1];
  return Number(line?.split(" ")[7] ?? 0) * tick;
}

function ownTime() {
  const { user, system } = process.cpuUsage();
  const children = read(() => readFileSync("/proc/self/stat", "utf8"))
    ?.replace(/^.*\) /s, "")
    .split(" ");
  const ended = (Number(children?.[13] ?? 0) + Number(children?.[14] ?? 0)) * tick; // cutime and cstime
  return (user + system) / 1000 + ended;
}

/** @param {readonly number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * @template T
 * @param {() => T} look
 * @returns {T | undefined}
 */
function read(look) {
  try {
    return look();
  } catch {
    return undefined;
  }
}
