/**
 * @file Whether standard output was closed when the command began (`vl-reward score pairs.jsonl >&-`): the results of hours
 * would be lost without a word, for Node puts /dev/null where there is nothing.
 *
 * It opens that for reading and writing, which shells never do. Programs do that discard what we print (Node's "ignore",
 * Python's DEVNULL), and that is their right: so only what a shell has started counts, and not where it came from further up.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";

const shells = ["ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"];

/** False where it cannot be known, as on macOS. */
export function standardOutputIsClosed(): boolean {
  try {
    if (!isOpenedForBoth("self")) return false;
    const parent = String(process.ppid);
    return shells.includes(basename(readlinkSync(`/proc/${parent}/exe`))) && !isOpenedForBoth(parent);
  } catch {
    return false;
  }
}

/** @param pid of a process, or self */
function isOpenedForBoth(pid: string): boolean {
  const accessMode = 3; // O_ACCMODE
  const forBoth = 2; // O_RDWR
  if (readlinkSync(`/proc/${pid}/fd/1`) !== "/dev/null") return false;
  const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/1`, "utf8"))?.[1] ?? "0";
  return (Number.parseInt(flags, 8) & accessMode) === forBoth;
}
