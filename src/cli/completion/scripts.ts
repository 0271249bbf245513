/** @file The three shells, each of which has a language of its own for the same table. */
import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { type CommandEntry, commandTable } from "../command-table.ts";
import { bashScript } from "./bash.ts";
import { fishScript } from "./fish.ts";
import { zshScript } from "./zsh.ts";

const scripts: Readonly<Record<"bash" | "zsh" | "fish", (table: readonly CommandEntry[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

export function completionScript(shell: keyof typeof scripts, program: CommandUnknownOpts): string {
  return scripts[shell](commandTable(program));
}
