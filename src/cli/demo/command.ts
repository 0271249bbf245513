/**
 * @file `vl-reward demo`, which `npm start` runs. The work is in run.ts, which other commands need not load.
 */

import type { Command } from "@commander-js/extra-typings";

export function addDemoCommand(program: Command): void {
  program
    .command("demo")
    .summary("judge the shipped examples and show pictures, answers and errors")
    .description(
      "Judges the examples that ship with the package with the embedded model and shows each picture, its question and the " +
        "ranked answers, with the right one marked.",
    )
    .action(async () => {
      const { demo } = await import("./run.ts");
      await demo();
    });
}
