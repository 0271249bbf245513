/** @file Completion for zsh, whose _arguments knows which flags have been given already. */
import type { CommandEntry, FlagEntry, Values } from "../command-table.ts";
import { quoted, stepsOf } from "./path-words.ts";

export function zshScript(table: readonly CommandEntry[]): string {
  const steps = stepsOf(table).map(
    ({ from, word, to }) => `      ${quoted(`${from} ${word}`)}) command=${quoted(to)}; at=$i ;;`,
  );
  const commands = table.map((entry) => {
    const specs = [...entry.flags.flatMap(flagSpecs), ...argumentSpecs(entry)];
    return `    ${quoted(entry.name)})
${subcommandList(entry)}      _arguments -s -S ${specs.join(" \\\n        ")} ;;`;
  });
  return `#compdef vl-reward
# Completion of vl-reward for zsh: source <(vl-reward completion zsh), after compinit; or a file _vl-reward in $fpath

_vl_reward_subcommands() { _describe command subcommands }

_vl_reward_models() { _alternative 'models:model:(tiny)' 'folders:folder:_files -/' }

_vl_reward() {
  local command='' at=1 i
  local -a subcommands
  for ((i = 2; i < CURRENT; i++)); do
    case "$command \${words[i]}" in
${steps.join("\n")}
    esac
  done
  # _arguments is to see the words of the command that is being written.
  words=(vl-reward "\${(@)words[at+1,-1]}")
  ((CURRENT -= at - 1))
  case "$command" in
${commands.join("\n")}
  esac
}

if [[ $funcstack[1] == _vl_reward ]]; then _vl_reward "$@"
else compdef _vl_reward vl-reward
fi
`;
}

function subcommandList({ subcommands }: CommandEntry): string {
  if (subcommands.length === 0) return "";
  const items = subcommands.map(({ word, summary }) => quoted(`${word}:${summary}`));
  return `      subcommands=(${items.join(" ")})\n`;
}

function flagSpecs({ short, long, description, values }: FlagEntry): string[] {
  const said = `[${escaped(description)}]`;
  const value = values === undefined ? "" : `:${long.slice(2)}:${action(values)}`;
  // One that takes a value may be given as --flag=value too.
  return [...(short ? [`${short}${said}${value}`] : []), `${long}${value === "" ? "" : "="}${said}${value}`].map(
    quoted,
  );
}

function argumentSpecs({ subcommands, arguments: given }: CommandEntry): string[] {
  if (subcommands.length > 0) return [quoted("1:command:_vl_reward_subcommands")];
  return given.map(({ usage, several, values }, index) =>
    quoted(`${several ? "*" : index + 1}:${usage.replace(/[^\w]/g, "")}:${action(values)}`),
  );
}

function action({ words, paths }: Values): string {
  if (words.length > 0 && paths !== "none") return "_vl_reward_models";
  if (words.length > 0) return `(${words.join(" ")})`;
  return paths === "none" ? " " : `_files${paths === "folders" ? " -/" : ""}`;
}

const escaped = (text: string): string => text.replace(/[\\[\]:]/g, "\\$&");
