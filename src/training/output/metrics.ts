/**
 * @file What a run measures: one line per optimizer step in metrics.jsonl, one per validation in evaluations.jsonl.
 *
 * The lines are a stable contract, in snake_case; readers ignore keys that they do not know. A number that is not finite
 * stands as null, because JSON has no other word for it, and is read back as NaN.
 */
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { z } from "zod";
import { VlRewardError } from "../../errors.ts";
import { AppendFile } from "../../files/append-file.ts";
import type { Written } from "../../files/durable-file.ts";
import { readRegularFile } from "../../files/regular-file.ts";
import { wilsonInterval } from "../../report/statistics.ts";

/** One optimizer step. Loss, accuracy and margin are means over its pairs, before the weights change. */
export interface StepMetrics {
  readonly stage: string; // its name in the configuration
  readonly step: number; // from 1, over all stages
  readonly loss: number;
  readonly sums: Readonly<Record<string, number>>; // those of its objectives, by name in snake_case: means as well
  readonly accuracy: number; // NaN, as the margin, where a stage ranks no answers
  readonly margin: number; // score of chosen less score of rejected
  readonly gradNorm: number; // before clipping
  readonly learningRate: number; // that this step was made with
  readonly pairs: number; // of this step, as are the next two
  readonly tokens: number; // of all sequences, a shared prompt counted for each answer
  readonly seconds: number; // of the step alone, without validation and saving
}

/** How well pairs are told apart. All means are NaN over no pairs. */
export interface Accuracy {
  readonly pairs: number;
  readonly correct: number;
  readonly accuracy: number;
  readonly interval: readonly [low: number, high: number]; // of accuracy, Wilson's at 95%
  readonly margin: number;
  readonly loss: number;
}

/** The validation set after `step` steps. */
export interface Evaluation {
  readonly stage: string;
  readonly step: number;
  readonly overall: Accuracy;
  readonly sources: ReadonlyMap<string, Accuracy>; // pairs that name no source count in `overall` alone
}

export interface PairResult {
  readonly source: string | undefined;
  readonly margin: number; // score of chosen less score of rejected
  readonly loss: number;
}

/** A pair counts as correct if chosen scores higher: a tie is wrong. Sources keep the order of their first pair. */
export function summarise(results: readonly PairResult[]): Pick<Evaluation, "overall" | "sources"> {
  const bySource = new Map<string, PairResult[]>();
  for (const result of results) {
    if (result.source === undefined) continue;
    const pairs = bySource.get(result.source);
    if (pairs === undefined) bySource.set(result.source, [result]);
    else pairs.push(result);
  }
  return {
    overall: accuracyOf(results),
    sources: new Map([...bySource].map(([source, pairs]) => [source, accuracyOf(pairs)])),
  };
}

function accuracyOf(results: readonly PairResult[]): Accuracy {
  const pairs = results.length;
  const correct = results.filter(({ margin }) => margin > 0).length;
  const mean = (value: (result: PairResult) => number) => results.reduce((sum, one) => sum + value(one), 0) / pairs;
  return {
    pairs,
    correct,
    accuracy: correct / pairs,
    interval: wilsonInterval(correct, pairs),
    margin: mean(({ margin }) => margin),
    loss: mean(({ loss }) => loss),
  };
}

/** -> the one with the highest accuracy, the first of several */
export function bestEvaluation(evaluations: readonly Evaluation[]): Evaluation | undefined {
  let best: Evaluation | undefined;
  for (const one of evaluations) if (one.overall.accuracy > (best?.overall.accuracy ?? -1)) best = one;
  return best;
}

/** What a saved state holds the two files against that it goes on with: their bytes up to it. */
export interface LogMarks {
  readonly steps: Written;
  readonly evaluations: Written;
}

/** The two files of an output folder, open for appending. */
export class MetricsLog {
  readonly #steps: AppendFile;
  readonly #evaluations: AppendFile;
  /** Of all that stands in them now. */
  readonly #marks: { steps: Written; evaluations: Written };

  private constructor(steps: AppendFile, evaluations: AppendFile, marks: LogMarks) {
    this.#steps = steps;
    this.#evaluations = evaluations;
    this.#marks = { ...marks };
  }

  /**
   * Opens or makes the files. A last line that an interrupted run left unfinished is cut away.
   *
   * @param afterStep the step that the run goes on from: lines of later ones are cut away. 0 for a new run: all are.
   * @throws VlRewardError `output_unwritable`; `input_unreadable` for a damaged line among those to be kept
   */
  static open(folder: string, { afterStep }: { readonly afterStep: number }): MetricsLog {
    const stepsPath = join(folder, stepsFile);
    const evaluationsPath = join(folder, evaluationsFile);
    const lastStep = afterStep === 0 ? -1 : afterStep; // a validation may stand at step 0
    const keptSteps = readLines(stepsPath, stepLine, lastStep);
    const keptEvaluations = readLines(evaluationsPath, evaluationLine, lastStep);
    const steps = AppendFile.open(stepsPath, keptSteps.written.bytes);
    try {
      const evaluations = AppendFile.open(evaluationsPath, keptEvaluations.written.bytes);
      return new MetricsLog(steps, evaluations, { steps: keptSteps.written, evaluations: keptEvaluations.written });
    } catch (error) {
      steps.close();
      throw error;
    }
  }

  /** Throws VlRewardError `output_unwritable`, as when the disk is full; whole lines remain. */
  step({ stage, step, loss, sums, accuracy, margin, gradNorm, learningRate, ...counts }: StepMetrics): void {
    const rates = { grad_norm: gradNorm, learning_rate: learningRate };
    const { pairs, tokens, seconds } = counts;
    const line = jsonLine({ stage, step, loss, ...sums, accuracy, margin, ...rates, pairs, tokens, seconds });
    this.#steps.append(line);
    this.#marks.steps = withMore(this.#marks.steps, line);
  }

  /** Throws as `step` does. */
  evaluation({ stage, step, overall, sources }: Evaluation): void {
    const bySource = [...sources].map(([source, accuracy]) => ({ source, ...accuracy }));
    const line = jsonLine({ stage, step, ...overall, sources: bySource });
    this.#evaluations.append(line);
    this.#marks.evaluations = withMore(this.#marks.evaluations, line);
  }

  /** Brings all lines to the disk -> their marks, for a saved state that continues from them. Throws `output_unwritable`. */
  sync(): LogMarks {
    this.#steps.sync();
    this.#evaluations.sync();
    return { ...this.#marks };
  }

  close(): void {
    this.#steps.close();
    this.#evaluations.close();
  }
}

/**
 * Throws `resume_mismatch` where a file no longer begins as it did when a state was saved: what a run tells at its end, and which
 * of its states is the best, would be of another one. One that was moved away is announced.
 *
 * @param state what messages call it
 */
export function assertLogsUnchanged(
  folder: string,
  marks: LogMarks,
  state: string,
  announce: (message: string) => void,
): void {
  for (const [name, { bytes, crc32: expected }] of [
    [stepsFile, marks.steps],
    [evaluationsFile, marks.evaluations],
  ] as const) {
    const file = join(folder, name);
    const content = readIfThere(file);
    if (content === undefined) {
      if (bytes > 0) announce(`${file} is not there: the report will not tell of the steps up to ${state}.`);
      continue;
    }
    const whole = content.byteLength >= bytes;
    if (whole && crc32(content.subarray(0, bytes)) === expected) continue;
    const found = whole ? `its first ${bytes} bytes have changed` : `it has ${content.byteLength} of ${bytes} bytes`;
    throw new VlRewardError(
      "resume_mismatch",
      `${file} is not what it was when ${state} was saved: ${found}. Put it back as it was, or move it away to go on without it.`,
    );
  }
}

/** @throws VlRewardError `input_unreadable` for a damaged line; an unfinished last one is left out */
export function readSteps(folder: string): readonly StepMetrics[] {
  return readLines(join(folder, stepsFile), stepLine, Number.POSITIVE_INFINITY).lines;
}

/** @throws VlRewardError `input_unreadable` for a damaged line; an unfinished last one is left out */
export function readEvaluations(folder: string): readonly Evaluation[] {
  return readLines(join(folder, evaluationsFile), evaluationLine, Number.POSITIVE_INFINITY).lines;
}

const stepsFile = "metrics.jsonl";
const evaluationsFile = "evaluations.jsonl";

const measured = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);
const count = z.int().nonnegative();

/** Every number that is none of the step's own is a sum of some objective. */
const stepLine = z
  .looseObject({
    stage: z.string(),
    step: z.int().positive(),
    loss: measured,
    accuracy: measured,
    margin: measured,
    grad_norm: measured,
    learning_rate: measured,
    pairs: count,
    tokens: count,
    seconds: measured,
  })
  .transform(
    ({
      stage,
      step,
      loss,
      accuracy,
      margin,
      grad_norm: gradNorm,
      learning_rate: learningRate,
      pairs,
      tokens,
      seconds,
      ...others
    }): StepMetrics => {
      const sums = Object.entries(others).flatMap(([name, value]) => {
        const { data } = measured.safeParse(value);
        return data === undefined ? [] : [[name, data] as const];
      });
      const own = { stage, step, loss, accuracy, margin, gradNorm, learningRate, pairs, tokens, seconds };
      return { ...own, sums: Object.fromEntries(sums) };
    },
  );

const accuracyFields = {
  pairs: count,
  correct: count,
  accuracy: measured,
  interval: z.tuple([z.number(), z.number()]),
  margin: measured,
  loss: measured,
};

const evaluationLine = z
  .object({
    stage: z.string(),
    step: count, // 0: before the first step
    ...accuracyFields,
    sources: z.array(z.object({ source: z.string(), ...accuracyFields })),
  })
  .transform(
    ({ stage, step, sources, ...overall }): Evaluation => ({
      stage,
      step,
      overall,
      sources: new Map(sources.map(({ source, ...accuracy }) => [source, accuracy])),
    }),
  );

function jsonLine(value: object): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`, "utf8");
}

const withMore = ({ bytes, crc32: before }: Written, line: Buffer): Written => ({
  bytes: bytes + line.byteLength,
  crc32: crc32(line, before),
});

/** -> the lines up to `lastStep` and what they are at the file's start; none of a file that is not there */
function readLines<Line extends { readonly step: number }>(
  path: string,
  schema: z.ZodType<Line>,
  lastStep: number,
): { readonly lines: readonly Line[]; readonly written: Written } {
  const content = readIfThere(path) ?? Buffer.alloc(0);
  const lines: Line[] = [];
  let start = 0;
  for (let end = content.indexOf(0x0a); end !== -1; end = content.indexOf(0x0a, start)) {
    const line = parseLine(content.toString("utf8", start, end), schema);
    if (line === undefined) {
      throw new VlRewardError(
        "input_unreadable",
        `${path}, line ${lines.length + 1}: expected the JSON of one step, as this run wrote it; the file is damaged. ` +
          "Put it right or move it away.",
      );
    }
    if (line.step > lastStep) break;
    lines.push(line);
    start = end + 1;
  }
  return { lines, written: { bytes: start, crc32: crc32(content.subarray(0, start)) } };
}

function parseLine<Line>(text: string, schema: z.ZodType<Line>): Line | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Millions of steps; what Node reads at once. */
const longestLog = 2 ** 31 - 1;

function readIfThere(path: string): Buffer | undefined {
  try {
    return readRegularFile(path, longestLog);
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new VlRewardError("input_unreadable", `${path} cannot be read: ${message}.`, { cause });
  }
}
