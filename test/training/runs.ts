/** @file What runs of `vl-reward train` have written so far, for tests that watch them or look at their end. */
import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Writes the preferences of a file, last line first, for a validation set beside it: one that is the training file itself is
 * refused. Paths that begin with "../" stay right.
 */
export function reversed(
  file: string,
  target: string,
  sourceOf: (index: number) => string | undefined = () => undefined,
): string {
  const lines = readFileSync(file, "utf8").trim().split("\n").reverse();
  const above = `"${path.resolve(path.dirname(file), "..")}/`;
  const records = lines.map((line): object => JSON.parse(line.replaceAll('"../', above)));
  const named = records.map((record, index) => JSON.stringify({ ...record, source: sourceOf(index) }));
  writeFileSync(target, `${named.join("\n")}\n`);
  return target;
}

/** Runs whose outputs are folders of `folder`, by the outputs' names. */
export function runsIn(folder: string) {
  /** The JSON lines of a file. */
  const linesOf = <Line>(name: string, file = "metrics.jsonl"): Line[] => {
    const lines = readFileSync(path.join(folder, name, file), "utf8")
      .trim()
      .split("\n");
    return lines.map((line) => JSON.parse(line));
  };
  /** How many steps have been logged. */
  const stepsIn = (name: string): number => {
    const file = path.join(folder, name, "metrics.jsonl");
    return existsSync(file) ? readFileSync(file, "utf8").split("\n").length - 1 : 0;
  };
  /** Waits until a run has made this many steps. Rejects when its process ends before, or after half a minute. */
  const until = async (name: string, count: number, child: ChildProcess): Promise<void> => {
    const limit = AbortSignal.timeout(30_000);
    for (let made = stepsIn(name); made < count; made = stepsIn(name)) {
      if (child.exitCode !== null || child.signalCode !== null || limit.aborted) {
        throw new Error(
          `${name} made ${made} steps, expected ${count}; exit code ${child.exitCode}, ${child.signalCode}`,
        );
      }
      await sleep(5);
    }
  };
  return { linesOf, stepsIn, until };
}
