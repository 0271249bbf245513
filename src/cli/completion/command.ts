/** @file `vl-reward completion`: a script for the shell, which then completes commands, flags and their values by itself. */
import { Argument, type Command } from "@commander-js/extra-typings";

const examples = `
Examples:
  source <(vl-reward completion bash)                                  # in ~/.bashrc
  source <(vl-reward completion zsh)                                   # in ~/.zshrc, after compinit
  vl-reward completion fish > ~/.config/fish/completions/vl-reward.fish`;

export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .summary("print what completes commands and flags in your shell")
    .description("Prints a script that teaches a shell the commands, their flags and what may stand behind these.")
    .addArgument(new Argument("<shell>", "whose script").choices(["bash", "zsh", "fish"] as const))
    .addHelpText("after", examples)
    .action(async (shell) => {
      const { completionScript } = await import("./scripts.ts");
      process.stdout.write(completionScript(shell, program));
    });
}
