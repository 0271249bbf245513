/**
 * @file `vl-reward train`: the flags and the configuration. run.ts does the work.
 */

import type { Command } from "@commander-js/extra-typings";
import { mediaPolicyOf, mediaRootFlag, noNetworkFlag, readCount, readDevice } from "../flags.ts";

const examples = `
Examples:
  vl-reward train recipes/first-steps.yaml
  vl-reward train recipes/first-steps.yaml --check
  vl-reward train my.yaml --set stages.0.learning_rate=5e-6 --set optimizer.weight_decay=0.1
  vl-reward train my.yaml --resume
  vl-reward train my.yaml --media-root data --no-network
  vl-reward train my.yaml --processes 2 --device cpu
  torchrun --no-python --nproc-per-node 8 vl-reward train my.yaml

Exit code: 0 trained to the end, 2 not; 130, 143 or 129 interrupted, with the state saved.

Keys of CONFIG.yaml, as --set names them; N is a place in a list, from 0:`;

export function addTrainCommand(program: Command): void {
  program
    .command("train")
    .summary("train a reward model on preferences")
    .description(
      "Trains a reward model on pairs of a chosen and a rejected answer, as a configuration says, and writes a checkpoint.",
    )
    .argument("<config>", "YAML file; paths inside are relative to it")
    .option(
      "--set <key=value>",
      "override a key of the configuration, also several times; the value is YAML, null takes the key away",
      (setting: string, before: readonly string[] | undefined) => [...(before ?? []), setting],
    )
    .option("--resume", "go on from the latest saved state in the output folder")
    .option("--processes <n>", "train with this many processes on this machine", readCount)
    .option("--device <device>", "auto, cpu, cuda or cuda:N", readDevice, "auto")
    .addOption(mediaRootFlag)
    .addOption(noNetworkFlag)
    .option("--check", "check the configuration and every record, then stop")
    .action(async (file, flags) => {
      const { loadTrainConfig } = await import("../../training/config/config.ts");
      const config = loadTrainConfig(file, flags.set);
      const { runTraining } = await import("./run.ts");
      process.exitCode = await runTraining(config, {
        resume: flags.resume ?? false,
        processes: flags.processes,
        device: flags.device,
        media: mediaPolicyOf(flags),
        check: flags.check ?? false,
      });
    });
  // The schema of the configuration, which the other commands start sooner without.
  program.hook("preSubcommand", async (_, command) => {
    if (command.name() !== "train") return;
    const { keysAsText } = await import("./reference.ts");
    command.addHelpText("after", `${examples}\n${keysAsText()}`);
  });
}
