/** @file Completion for fish. */
import type { CommandEntry, FlagEntry, Values } from "../command-table.ts";
import { stepsOf } from "./path-words.ts";

export function fishScript(table: readonly CommandEntry[]): string {
  const steps = stepsOf(table).map(
    ({ from, word, to }) => `            case ${quoted(`${from} ${word}`)}\n                set command ${quoted(to)}`,
  );
  const rules = table.flatMap((entry) => {
    const here = `complete -c vl-reward -n ${quoted(`__vl_reward_is ${quoted(entry.name)}`)}`;
    const [argument] = entry.arguments;
    return [
      ...entry.subcommands.map(({ word, summary }) => `${here} -a ${quoted(word)} -d ${quoted(summary)}`),
      ...(argument && entry.subcommands.length === 0 ? offers(argument.values).map((offer) => `${here}${offer}`) : []),
      ...entry.flags.map((flag) => `${here}${flagRule(flag)}`),
    ];
  });
  return `# Completion of vl-reward for fish: vl-reward completion fish > ~/.config/fish/completions/vl-reward.fish

function __vl_reward_is
    set -l command ''
    for word in (commandline -opc)[2..-1]
        switch "$command $word"
${steps.join("\n")}
        end
    end
    test "$command" = "$argv[1]"
end

complete -c vl-reward -f
${rules.join("\n")}
`;
}

function flagRule({ short, long, description, values }: FlagEntry): string {
  const spelt = `${short ? ` -s ${short.slice(1)}` : ""} -l ${long.slice(2)} -d ${quoted(description)}`;
  if (values === undefined) return spelt;
  return `${spelt} -r${values.paths === "files" ? "" : " -f"}${offers(values).join("")}`;
}

function offers({ words, paths }: Values): string[] {
  const folders = paths === "folders" ? ["(__fish_complete_directories)"] : [];
  const offered = [...words, ...folders].join(" ");
  return [...(offered === "" ? [] : [` -a ${quoted(offered)}`]), ...(paths === "files" ? [" -F"] : [])];
}

const quoted = (text: string): string => `'${text.replace(/[\\']/g, "\\$&")}'`;
