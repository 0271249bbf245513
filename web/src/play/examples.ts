/** @file The examples that ship with the package, built into the page. */

import lines from "../../../examples/examples.jsonl?raw";
import type { CandidatesRecord } from "../api.ts";
import { type Draft, draftOf } from "./draft.ts";

const pictures = import.meta.glob<string>("../../../examples/pictures/{scene,crowd,chart,writing}-*.png", {
  query: "?url",
  import: "default",
  eager: true,
});

interface Example {
  readonly name: string;
  open(): Promise<Draft>;
}

export const examples: readonly Example[] = lines
  .trim()
  .split("\n")
  .map((line) => {
    const { id, ...record }: CandidatesRecord & { id: string } = JSON.parse(line);
    return {
      name: id.replace("-", " "),
      open: () => draftOf(record, (file) => pictures[`../../../examples/${file}`] ?? file),
    };
  });
