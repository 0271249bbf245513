/** @file `vl-reward doctor`: its output and exit codes. examine.ts looks, page.ts tells. */
import type { Command } from "@commander-js/extra-typings";
import { wantsJson } from "../failure.ts";

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .summary("show what this machine has and what is wrong with it")
    .description(
      "Shows libtorch, devices, precision, memory, caches and problems. Exit code 1: something needed is broken.",
    )
    .addHelpText("after", "\nWith --json it prints one JSON object, sizes in bytes.")
    .action(async () => {
      const { examine } = await import("./examine.ts");
      const { page } = await import("./page.ts");
      const report = await examine(program.version() ?? "");
      process.stdout.write(wantsJson ? `${JSON.stringify(report, undefined, 2)}\n` : page(report));
      process.exitCode = report.problems.some(({ needed }) => needed) ? 1 : 0;
    });
}
