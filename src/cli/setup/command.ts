/** @file `vl-reward setup`: by the time a command runs, setup/launch.mjs has put everything in place; this one only says so. */
import type { Command } from "@commander-js/extra-typings";
import { libtorchBuild } from "../../torch/index.ts";

export function addSetupCommand(program: Command): void {
  program
    .command("setup")
    .summary("find or download libtorch and put the addon in place")
    .description(
      "Sets up libtorch and the native addon, as every command does at its first use, and says where libtorch is.",
    )
    .action(() => {
      const { version, folder } = libtorchBuild();
      process.stdout.write(`libtorch ${version} in ${folder}\n`);
    });
}
