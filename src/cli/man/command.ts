/** @file `vl-reward man`: the manual page. What npm packs is made of it (setup/pack.mjs). */
import type { Command } from "@commander-js/extra-typings";

export function addManCommand(program: Command): void {
  program
    .command("man")
    .summary("print the manual page")
    .description("Prints the manual page in roff: vl-reward man > vl-reward.1; man -l vl-reward.1")
    .action(async () => {
      const { commandTable } = await import("../command-table.ts");
      const { manPage } = await import("./page.ts");
      process.stdout.write(manPage(commandTable(program), program.version() ?? ""));
    });
}
