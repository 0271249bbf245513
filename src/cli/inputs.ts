/**
 * @file The inputs of a run over records: files, patterns of file names, standard input. All are looked at before a model is
 * loaded, so that a wrong path fails at once, and opened one after the other.
 */
import { closeSync, fstatSync, openSync, type Stats, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { VlRewardError } from "../errors.ts";
import { filesMatching, isPattern } from "./file-patterns.ts";
import { attempt } from "./output.ts";

const standardInput = 0; // a file descriptor

/** One of the inputs. */
export interface RunInput {
  /** As the first words of an error name it. */
  readonly name: string;
  /** As its results name it where there are several inputs; undefined where it is the only one. */
  readonly file: string | undefined;
  /** Where relative paths inside its records start. */
  readonly baseFolder: string;
  /** In bytes; 0 when unknown, as for a pipe. */
  readonly size: number;
  readonly stats: Stats;
  /** -> a file descriptor. Throws `input_unreadable` where it was there and is gone. */
  readonly open: () => number;
}

/**
 * The inputs in the order in which they are named, those of a pattern by name.
 *
 * @param paths files; patterns, where no file has that name; - for standard input
 * @throws VlRewardError `input_unreadable`, also for a pattern that fits no file; `usage` for - more than once
 */
export function findInputs(paths: readonly string[]): RunInput[] {
  const found = paths.flatMap(expanded);
  if (found.filter((path) => path === "-").length > 1) {
    throw new VlRewardError("usage", "Standard input (-) is named more than once; it can be read once.");
  }
  return found.map((path) => inputOf(path, found.length > 1));
}

function expanded(path: string): string[] {
  if (path === "-" || !isPattern(path) || statSync(path, { throwIfNoEntry: false }) !== undefined) return [path];
  const files = filesMatching(path);
  if (files.length > 0) return files;
  throw new VlRewardError("input_unreadable", `The input ${path} cannot be read: no file has such a name.`);
}

function inputOf(path: string, severalInputs: boolean): RunInput {
  const name = path === "-" ? "Standard input" : `The input ${path}`;
  const open = (): number =>
    path === "-" ? standardInput : attempt("input_unreadable", `${name} cannot be read`, () => openSync(path, "r"));
  const fd = open();
  const stats = fstatSync(fd);
  const reopened = fd !== standardInput && stats.isFile();
  if (reopened || stats.isDirectory()) closeSync(fd);
  if (stats.isDirectory()) {
    throw new VlRewardError("input_unreadable", `${name} is a folder; expected a JSON Lines file.`);
  }
  return {
    name,
    file: severalInputs ? path : undefined,
    baseFolder: path === "-" ? process.cwd() : dirname(resolve(path)),
    size: stats.size,
    stats,
    open: reopened ? open : () => fd, // what a pipe held is gone once it is closed
  };
}
