/**
 * @file `vl-reward synth`: the flags. run.ts does the work.
 */

import { type Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import type { Level, Split } from "../../synthetic/world.ts";
import { readCount, readSeed, readSize } from "../flags.ts";

const examples = `
Examples:
  vl-reward synth --count 1000 --seed 1 --out shapes
  vl-reward synth --count 200 --seed 2 --split unseen --level 2 --size 168 --out unseen
  vl-reward score shapes/records.jsonl

shapes/preferences.jsonl is for train (responses and scores: 1 for the right one, 0 for the wrong ones), records.jsonl for
score (up to eight responses; "right" is the index that "best" should be), and pictures/ has the pictures.`;

export function addSynthCommand(program: Command): void {
  program
    .command("synth")
    .summary("make records to try the other commands on")
    .description(
      "Draws pictures of shapes, charts and writing, asks about them, and writes right and wrong answers as records. " +
        "The embedded model was trained on such documents. Equal flags give equal records and pictures.",
    )
    .requiredOption("--out <folder>", "where the records and pictures go: a new or an empty folder")
    .option("--count <n>", "documents, each with up to four questions", readCount, 100)
    .option("--seed <n>", "a whole number; other seeds give other documents", readSeed, 1)
    .addOption(
      new Option(
        "--split <name>",
        "train, held-out (other documents) or unseen (colours of shapes that the others lack)",
      )
        .choices<readonly Split[]>(["train", "held-out", "unseen"])
        .default<Split>("held-out"),
    )
    .option("--level <n>", "0 (one big thing in a picture) to 3 (up to five)", readLevel, 3)
    .option("--size <pixels>", "a picture's sides, a multiple of 28", readSize, 112)
    .addHelpText("after", examples)
    .action(async ({ out, ...spec }) => {
      const { writeSyntheticRecords } = await import("./run.ts");
      writeSyntheticRecords(out, spec);
    });
}

function readLevel(text: string): Level {
  const level = ([0, 1, 2, 3] as const).find((level) => String(level) === text);
  if (level !== undefined) return level;
  throw new InvalidArgumentError("Expected 0, 1, 2 or 3.");
}
