/** @file Folders that are made where they are absent. */
import { mkdirSync, statSync } from "node:fs";
import path from "node:path";
import { hasCode } from "./system-error.ts";

/**
 * Makes a folder and those around it, as far as they are absent; throws the errors of the file system. Node's own
 * (`recursive: true`) never comes back where the system takes no folder into one that is there, as below /proc.
 */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
    const around = path.dirname(path.resolve(folder));
    const canBeMade = hasCode(error, "ENOENT") && statSync(around, { throwIfNoEntry: false }) === undefined;
    if (!canBeMade) throw error;
    makeFolder(around);
    makeFolder(folder); // another process may be as quick
  }
}
