/** @file The manual page in roff, of the same table as completion. */
import type { CommandEntry, FlagEntry } from "../command-table.ts";

/** Of the program and of setup; those of the hub are Hugging Face's own. */
const environment: readonly (readonly [name: string, meaning: string])[] = [
  ["VL_REWARD_TORCH", "folder of the torch to use (.../site-packages/torch); otherwise setup finds or installs one"],
  ["VL_REWARD_CACHE", "folder for what setup downloads and makes, and for what is measured once"],
  ["VL_REWARD_CUDA", "1: install CUDA's libraries although no NVIDIA driver is here, as where an image is built"],
  ["CXX", "C++20 compiler for the addon"],
  ["HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE", "of models from the hub, as Python's tools read them"],
  ["OMP_NUM_THREADS", "threads that compute, on the CPU"],
  ["NO_COLOR, FORCE_COLOR", "whether demo may use colours"],
];

const exitCodes: readonly (readonly [code: string, meaning: string])[] = [
  ["0", "done"],
  ["1", "done, but some records have an error line; of doctor: something that is needed is broken"],
  ["2", "nothing could be done, or not to the end; one sentence on standard error says why"],
  ["130, 143", "interrupted by Ctrl-C or SIGTERM"],
];

export function manPage(table: readonly CommandEntry[], version: string): string {
  const [program, ...commands] = table;
  if (program === undefined) return "";
  const lines = [
    `.TH VL\\-REWARD 1 "" "vl\\-reward ${text(version)}" "User Commands"`,
    ".SH NAME",
    "vl\\-reward \\- score answers with a multimodal reward model, and train one",
    ".SH SYNOPSIS",
    ".B vl\\-reward",
    "\\fIcommand\\fR [\\fIflags\\fR] [\\fIarguments\\fR]",
    ".SH DESCRIPTION",
    text(program.description),
    ".SH OPTIONS",
    ...program.flags.flatMap(flagLines),
    ".SH COMMANDS",
    ...commands.filter(({ subcommands }) => subcommands.length === 0).flatMap(commandLines),
    ".SH ENVIRONMENT",
    ...environment.flatMap(pairLines),
    ".SH EXIT STATUS",
    ...exitCodes.flatMap(pairLines),
  ];
  return `${lines.join("\n")}\n`;
}

function commandLines({ name, description, arguments: given, flags, notes }: CommandEntry): string[] {
  const usage = ["vl-reward", name, "[flags]", ...given.map((argument) => argument.usage)].join(" ");
  const own = flags.filter(({ global }) => !global);
  return [
    `.SS ${text(usage)}`,
    text(description),
    ...given.flatMap((argument) => pairLines([argument.usage, argument.description])),
    ...own.flatMap(flagLines),
    ...(notes === "" ? [] : [".PP", ".nf", ...notes.split("\n").map(text), ".fi"]),
  ];
}

const flagLines = ({ usage, description }: FlagEntry): string[] => pairLines([usage, description]);

function pairLines([what, meaning]: readonly [string, string]): string[] {
  return [".TP", `.B ${text(what)}`, text(meaning)];
}

/** One line of text as roff prints it: its own characters, and none that begins a request. */
function text(line: string): string {
  const escaped = line.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("`", "\\`").replaceAll("'", "\\(aq");
  return /^[.]/.test(escaped) ? `\\&${escaped}` : escaped;
}
