/**
 * @file The `vl-reward` command: its subcommands, one file each, and the exit codes they share.
 *
 * 0: done. 1: done, but some records could not be scored. 2: nothing could be done, one sentence on standard error says
 * why. 130 and 143: interrupted.
 */

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "@commander-js/extra-typings";
import { addCompletionCommand } from "./completion/command.ts";
import { addConvertCommand } from "./convert/command.ts";
import { addDemoCommand } from "./demo/command.ts";
import { addDoctorCommand } from "./doctor/command.ts";
import { addEmbedCommand } from "./embed/command.ts";
import { addEvaluateCommand } from "./evaluate/command.ts";
import { tellFailure, tellUsageError } from "./failure.ts";
import { Interrupted } from "./interrupts.ts";
import { addManCommand } from "./man/command.ts";
import { addMergeCommand } from "./merge/command.ts";
import { addScoreCommand } from "./score/command.ts";
import { addServeCommand } from "./serve/command.ts";
import { addSetupCommand } from "./setup/command.ts";
import { addSynthCommand } from "./synth/command.ts";
import { addTokenizerCommand } from "./tokenizer/command.ts";
import { addTrainCommand } from "./train/command.ts";

const { version }: { version: string } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
);

const program = new Command("vl-reward")
  .description("A multimodal reward model: reads a conversation and says how good its last answer is.")
  .version(version)
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .configureOutput({ outputError: tellUsageError });
program.option("--json", "a failure as one JSON object on standard error; of doctor, its report"); // failure.ts reads it
addScoreCommand(program);
addEmbedCommand(program);
addServeCommand(program);
addTrainCommand(program);
addEvaluateCommand(program);
addMergeCommand(program);
addConvertCommand(program);
addTokenizerCommand(program);
addSynthCommand(program);
addDemoCommand(program);
addDoctorCommand(program);
addSetupCommand(program);
addCompletionCommand(program);
addManCommand(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCode(error);
}
process.exit();

function exitCode(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has written its message
  if (error instanceof Interrupted) return error.exitCode;
  tellFailure(error);
  return 2;
}
