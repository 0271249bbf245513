/** @file Completion for bash, 3.2 (macOS) and newer. */
import type { CommandEntry, Values } from "../command-table.ts";
import { quoted, stepsOf } from "./path-words.ts";

export function bashScript(table: readonly CommandEntry[]): string {
  const steps = stepsOf(table).map(
    ({ from, word, to }) => `      ${quoted(`${from} ${word}`)}) command=${quoted(to)} ;;`,
  );
  const values = table.flatMap(({ name, flags }) =>
    flags.flatMap(({ long, short, values }) => {
      if (values === undefined) return [];
      const spelt = [long, ...(short ? [short] : [])].map((flag) => quoted(`${name} ${flag}`));
      return [`    ${spelt.join(" | ")}) ${offer(values)}return ;;`];
    }),
  );
  const commands = table.map((entry) => {
    const flags = entry.flags.flatMap(({ long, short }) => [long, ...(short ? [short] : [])]);
    return `    ${quoted(entry.name)})
      if [[ $current == -* ]]; then _vl_reward_words ${flags.join(" ")}
      else ${offer(afterFlags(entry)) || ": "}
      fi ;;`;
  });
  return `# Completion of vl-reward for bash: source <(vl-reward completion bash)

_vl_reward_words() {
  local word
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$*" -- "$current")
}

_vl_reward_paths() {
  local path
  while IFS= read -r path; do COMPREPLY+=("$path"); done < <(compgen "$1" -- "$current")
  compopt -o filenames 2> /dev/null
}

_vl_reward() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD - 1]}" command='' i
  COMPREPLY=()
  # --flag=value stands there as three words.
  if [[ $current == = ]]; then current=''
  elif [[ $before == = ]]; then before="\${COMP_WORDS[COMP_CWORD - 2]}"
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$command \${COMP_WORDS[i]}" in
${steps.join("\n")}
    esac
  done
  case "$command $before" in
${values.join("\n")}
  esac
  case "$command" in
${commands.join("\n")}
  esac
}

complete -F _vl_reward vl-reward
`;
}

/** What may stand there that is no flag. */
function afterFlags({ subcommands, arguments: [argument] }: CommandEntry): Values {
  if (subcommands.length > 0) return { words: subcommands.map(({ word }) => word), paths: "none" };
  return argument?.values ?? { words: [], paths: "none" };
}

function offer({ words, paths }: Values): string {
  const ofWords = words.length > 0 ? `_vl_reward_words ${words.join(" ")}; ` : "";
  return paths === "none" ? ofWords : `${ofWords}_vl_reward_paths ${paths === "files" ? "-f" : "-d"}; `;
}
