/**
 * @file How much memory this process may still take: what the system has, or less where a container or a service manager
 * sets a limit (Linux control groups, versions 1 and 2).
 */
import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";
import { dirname, join } from "node:path";

export interface SystemMemory {
  readonly total: number; // bytes
  /** What can be taken without pushing others out; pages that only cache files count as free. */
  readonly available: number; // bytes
}

/** @param root where the files of the system lie; tests have their own */
export function systemMemory(root = "/"): SystemMemory {
  const meminfo = text(join(root, "proc/meminfo"));
  const kib = (name: string): number | undefined =>
    number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(meminfo)?.[1]);
  const total = kib("MemTotal");
  const available = kib("MemAvailable");
  const machine =
    total === undefined || available === undefined
      ? { total: totalmem(), available: freemem() }
      : { total: total * 1024, available: available * 1024 };
  const groups = controlGroups(root);
  return {
    total: Math.min(machine.total, ...groups.map(({ total }) => total)),
    available: Math.max(0, Math.min(machine.available, ...groups.map(({ available }) => available))),
  };
}

/** The limits of the groups that this process is in, which hold one within the other. */
function controlGroups(root: string): SystemMemory[] {
  const memberships = text(join(root, "proc/self/cgroup")).split("\n");
  return memberships.flatMap((line) => {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === "") return [];
    if (controllers === "") return upwards(path).flatMap((group) => version2(join(root, "sys/fs/cgroup", group)));
    if (!controllers.split(",").includes("memory")) return [];
    return upwards(path).flatMap((group) => version1(join(root, "sys/fs/cgroup/memory", group)));
  });
}

/** "/a/b" -> "/a/b", "/a", "/". In a container the inner ones may not be there to be seen, the root then is its own. */
function upwards(path: string): string[] {
  return path === "/" ? [path] : [path, ...upwards(dirname(path))];
}

function version2(group: string): SystemMemory[] {
  const limit = number(text(join(group, "memory.max"))); // or "max", or none in the root
  return limited(limit, number(text(join(group, "memory.current"))), text(join(group, "memory.stat")), "");
}

function version1(group: string): SystemMemory[] {
  const limit = number(text(join(group, "memory.limit_in_bytes"))); // without one, more than any memory
  return limited(limit, number(text(join(group, "memory.usage_in_bytes"))), text(join(group, "memory.stat")), "total_");
}

/** What is used counts cached file pages, which the system takes back before it refuses any. */
function limited(limit: number | undefined, used: number | undefined, stat: string, prefix: string): SystemMemory[] {
  if (limit === undefined || used === undefined) return [];
  const cached = ["inactive_file", "active_file"].map(
    (name) => number(new RegExp(`^${prefix}${name} (\\d+)$`, "m").exec(stat)?.[1]) ?? 0,
  );
  return [{ total: limit, available: limit - used + cached.reduce((sum, bytes) => sum + bytes, 0) }];
}

function number(digits: string | undefined): number | undefined {
  return digits !== undefined && /^\d+\s*$/.test(digits) ? Number(digits) : undefined;
}

/** "" for a file that is not there. */
function text(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
