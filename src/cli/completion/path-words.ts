/** @file Which words lead from a command to one of its own: what every script follows to know which command is being written. */
import type { CommandEntry } from "../command-table.ts";

/** Of one word behind a command: "tokenizer" and "train" give "tokenizer train". */
export interface Step {
  readonly from: string;
  readonly word: string;
  readonly to: string;
}

export function stepsOf(table: readonly CommandEntry[]): Step[] {
  return table.flatMap(({ name: from, subcommands }) =>
    subcommands.map(({ word }) => ({ from, word, to: `${from} ${word}`.trim() })),
  );
}

/** A text in single quotes, as sh and its kin read it. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
