/**
 * @file `vl-reward demo`, which `npm start` runs. The work is in demo-run.ts, which other commands need not load.
 */

import type { Command } from "@commander-js/extra-typings";

export function addDemoCommand(program: Command): void {
  program
    .command("demo")
    .summary("score the shipped examples and show them in a table")
    .description("Scores the examples that ship with the package with the embedded model and shows the ranked answers.")
    .action(async () => {
      const { demo } = await import("./demo-run.ts");
      await demo();
    });
}
