/**
 * @file The shipped examples as a model judges them: examples/examples.jsonl, scored and ranked. `demo` prints them, and
 * examples/make-figure.mjs draws them.
 */
import { createReadStream, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Message } from "../../conversation.ts";
import { type PreferenceRecord, readRecord } from "../../data/record.ts";
import type { Result } from "../../data/result.ts";
import { readLines } from "../../files/json-lines.ts";
import type { RewardEngine } from "../../reward/engine.ts";
import { scoreRecords } from "../../reward/score-records.ts";

/** Where the shipped examples and photographs are. */
export const exampleFolder = fileURLToPath(new URL("../../../examples/", import.meta.url));

export interface JudgedExample {
  readonly id: string;
  /** The picture's file; absent where the question needs none. */
  readonly picture?: string;
  readonly question: string;
  /** Best first. Exactly one is right. */
  readonly answers: readonly JudgedAnswer[];
}

export interface JudgedAnswer {
  readonly text: string;
  readonly score: number;
  readonly right: boolean;
}

/** Whether the model has put the right answer first. */
export const isRight = ({ answers }: JudgedExample): boolean => answers[0]?.right === true;

/** Rejects with an example's error; the shipped ones have none with a model that works. */
export async function judgeExamples(engine: RewardEngine): Promise<JudgedExample[]> {
  const file = join(exampleFolder, "examples.jsonl");
  const results: Result[] = [];
  const never = new AbortController().signal;
  await scoreRecords(
    readLines(createReadStream(file)),
    engine,
    { baseFolder: dirname(file), perToken: false, signal: never },
    (result) => {
      results.push(result);
    },
  );
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  return lines.map((line, index) => judged(line, results[index]));
}

function judged(line: string, result: Result | undefined): JudgedExample {
  const read = readRecord(line, 0);
  if ("error" in read) throw read.error;
  if (read.record.kind !== "candidates" || result === undefined || !("scores" in result)) {
    throw new Error(`an example without scores: ${line} ${JSON.stringify(result)}`);
  }
  const { right }: { right: number } = JSON.parse(line); // a key of the examples' own, which records do not know
  const answers = read.record.answers.map(({ content }, index) => ({
    text: textOf(content),
    score: result.scores[index] ?? Number.NaN,
    right: index === right,
  }));
  return { id: String(read.id), ...asked(read.record), answers: answers.sort((a, b) => b.score - a.score) };
}

/** What the only turn of an example shows and asks. */
function asked({ prompt }: PreferenceRecord): Pick<JudgedExample, "picture" | "question"> {
  const content = prompt[0]?.content ?? "";
  if (typeof content === "string") return { question: content };
  const image = content.find((part) => part.type === "image");
  return { question: textOf(content), ...(image && { picture: join(exampleFolder, image.image) }) };
}

const textOf = (content: Message["content"]): string =>
  typeof content === "string" ? content : content.map((part) => (part.type === "text" ? part.text : "")).join("");
