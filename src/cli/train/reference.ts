/**
 * @file The keys of a training configuration as `vl-reward train --help` and docs/training.md show them.
 */

import { type ConfigKey, configKeys } from "../../training/config/config-keys.ts";

/** For a terminal: two or three lines for each key. */
export function keysAsText(): string {
  return configKeys()
    .map(({ path, expects, default: value, description }) => {
      const facts = [expects, withDefault(value)].filter((fact) => fact !== "").join("; ");
      return [`  ${path}`, ...(facts === "" ? [] : [`(${facts})`])].join("  ").concat(`\n      ${description}`);
    })
    .join("\n");
}

/** For docs/training.md: a table in Markdown. */
export function keysAsMarkdown(): string {
  const row = ({ path, expects, default: value, description }: ConfigKey): string => {
    const shown = value === "" || value === "required" ? value : `\`${value}\``;
    return `| \`${path}\` | ${withCode(expects)} | ${shown} | ${withCode(description)} |`;
  };
  return ["| key | value | default | what it is for |", "|---|---|---|---|", ...configKeys().map(row)].join("\n");
}

function withDefault(value: string): string {
  return value === "" || value === "required" ? value : `default ${value}`;
}

/** Markdown takes asterisks for emphasis. */
function withCode(text: string): string {
  return text.replace(/\S*\*\S*/g, (pattern) => pattern.replace(/^(\(?)(.*?)(\)?)$/, "$1`$2`$3"));
}
