/**
 * @file The commands and their flags as a table, read off the program itself: completion and the man page are made of it, and so
 * say what the commands do say.
 */
import type { Argument, CommandUnknownOpts, Option } from "@commander-js/extra-typings";

export interface CommandEntry {
  /** Without the program's: "tokenizer train"; empty for the program itself. */
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  readonly arguments: readonly ArgumentEntry[];
  /** Its own, those of the program, and --help. */
  readonly flags: readonly FlagEntry[];
  readonly subcommands: readonly { readonly word: string; readonly summary: string }[];
  /** What its help says below the flags. */
  readonly notes: string;
}

export interface ArgumentEntry {
  /** As usage shows it: "<inputs...>". */
  readonly usage: string;
  readonly several: boolean;
  readonly description: string;
  readonly values: Values;
}

export interface FlagEntry {
  /** Such as -h, where there is one. */
  readonly short: string | undefined;
  readonly long: string;
  /** As help shows it: "--model <model>". */
  readonly usage: string;
  readonly description: string;
  /** Undefined where it takes none. */
  readonly values: Values | undefined;
  /** Whether it is the program's, and so every command's. */
  readonly global: boolean;
}

/** What may be written there: some words, and paths. */
export interface Values {
  readonly words: readonly string[];
  readonly paths: "files" | "folders" | "none";
}

/** The program first, then its commands as help lists them, each before its own. */
export function commandTable(program: CommandUnknownOpts): CommandEntry[] {
  const global = program.options.filter(({ long }) => long !== "--version");
  const walk = (command: CommandUnknownOpts, name: string): CommandEntry[] => [
    entryOf(command, name, command === program ? program.options : [...command.options, ...global], global),
    ...command.commands.flatMap((below) => walk(below, `${name} ${below.name()}`.trim())),
  ];
  return walk(program, "");
}

function entryOf(
  command: CommandUnknownOpts,
  name: string,
  options: readonly Option[],
  global: readonly Option[],
): CommandEntry {
  const help = { short: "-h", long: "--help", usage: "-h, --help", description: "show help", values: undefined };
  return {
    name,
    summary: command.summary() || command.description(),
    description: command.description() || command.summary(),
    arguments: command.registeredArguments.map(argumentOf),
    flags: [
      ...options.filter(({ hidden }) => !hidden).map((option) => flagOf(option, global.includes(option))),
      { ...help, global: true },
    ],
    subcommands: command.commands.map((below) => ({ word: below.name(), summary: below.summary() })),
    notes: notesOf(command),
  };
}

function argumentOf(argument: Argument): ArgumentEntry {
  const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
  const words = argument.argChoices ?? [];
  return {
    usage: argument.required ? `<${name}>` : `[${name}]`,
    several: argument.variadic,
    description: argument.description,
    values: { words, paths: words.length > 0 ? "none" : (pathsByName[argument.name()] ?? "files") },
  };
}

function flagOf(option: Option, global: boolean): FlagEntry {
  const valueName = /[<[](.+?)(?:\.\.\.)?[>\]]$/.exec(option.flags)?.[1];
  return {
    short: option.short,
    long: option.long ?? option.flags,
    usage: option.flags,
    description: describedBy(option),
    values:
      valueName === undefined
        ? undefined
        : { words: option.argChoices ?? wordsByName[valueName] ?? [], paths: pathsByName[valueName] ?? "none" },
    global,
  };
}

/** By what stands between the brackets in a flag. */
const pathsByName: Readonly<Record<string, Values["paths"]>> = {
  file: "files",
  folder: "folders",
  model: "folders",
};
const wordsByName: Readonly<Record<string, readonly string[]>> = {
  model: ["tiny"],
  device: ["auto", "cpu", "cuda"],
};

/** As help says it, choices and default included. */
function describedBy({ description, argChoices, defaultValue, negate }: Option): string {
  const more = [
    ...(argChoices ? [`one of ${argChoices.join(", ")}`] : []),
    ...(defaultValue !== undefined && !negate ? [`default: ${String(defaultValue)}`] : []),
  ];
  return more.length > 0 ? `${description} (${more.join("; ")})` : description;
}

function notesOf(command: CommandUnknownOpts): string {
  let shown = "";
  const { writeOut, ...others } = command.configureOutput();
  command.configureOutput({ ...others, writeOut: (text) => (shown += text) });
  command.outputHelp();
  command.configureOutput({ ...others, ...(writeOut && { writeOut }) });
  return shown.slice(command.helpInformation().length).trim();
}
