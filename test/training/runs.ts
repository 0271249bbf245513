/** @file What runs of `vl-reward train` have written so far, for tests that watch them or look at their end. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

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
  /** Waits until a run has made this many steps. */
  const until = async (name: string, count: number): Promise<void> => {
    while (stepsIn(name) < count) await sleep(5);
  };
  return { linesOf, stepsIn, until };
}
