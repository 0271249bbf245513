/**
 * @file A run of `synth`: documents made up and written as preferences, records and pictures. The flags are command.ts's.
 */

import { appendFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VlRewardError } from "../../errors.ts";
import { unwritable } from "../../files/durable-file.ts";
import { isSystemError } from "../../files/system-error.ts";
import {
  type DocumentSpec,
  type SyntheticDocument,
  syntheticDocument,
  syntheticTexts,
} from "../../synthetic/document.ts";
import { pngOf } from "../../synthetic/png.ts";
import { promptOf, shuffledQuestion } from "../../synthetic/preference.ts";

export interface SynthRun extends Pick<DocumentSpec, "seed" | "split" | "level" | "size"> {
  readonly count: number;
}

/** Wrong answers to a question: for training, and beside the right one in a choice of eight. */
const [wrongOfPreference, wrongOfRecord] = [3, 7];

/** @throws VlRewardError `output_unwritable`, also for a folder that is not empty */
export function writeSyntheticRecords(out: string, { count, ...spec }: SynthRun): void {
  try {
    mkdirSync(out, { recursive: true });
    if (readdirSync(out).length > 0) {
      throw new VlRewardError("output_unwritable", `${out} is not empty; name a new folder.`);
    }
    mkdirSync(join(out, "pictures"));
    for (let index = 0; index < count; index++) writeDocument(out, { ...spec, index });
  } catch (error) {
    throw isSystemError(error) ? unwritable(out, error) : error;
  }
  process.stderr.write(`${out} has ${count} documents: preferences.jsonl for train, records.jsonl for score.\n`);
}

function writeDocument(out: string, spec: DocumentSpec): void {
  const document = syntheticDocument({ ...spec, wrong: wrongOfPreference });
  const picture = document.picture && `pictures/${document.id}.png`;
  if (document.picture && picture !== undefined) writeFileSync(join(out, picture), pngOf(document.picture));
  append(
    join(out, "preferences.jsonl"),
    linesOf(document, picture, (right, answers) => ({
      scores: answers.map((_, index) => (index === right ? 1 : 0)),
    })),
  );
  const wide = syntheticTexts({ ...spec, wrong: wrongOfRecord });
  append(
    join(out, "records.jsonl"),
    linesOf(wide, picture, (right) => ({ right })),
  );
}

const append = (file: string, lines: readonly string[]): void => appendFileSync(file, lines.join(""));

/** One line for each question; `judged` says which answer is right. */
function linesOf(
  document: SyntheticDocument,
  picture: string | undefined,
  judged: (right: number, answers: readonly string[]) => object,
): string[] {
  return [...document.questions.keys()].map((index) => {
    const { id, category, question, answers, right } = shuffledQuestion(document, index);
    const messages = [promptOf(question, picture)];
    const record = { id, source: category, messages, responses: answers, ...judged(right, answers) };
    return `${JSON.stringify(record)}\n`;
  });
}
